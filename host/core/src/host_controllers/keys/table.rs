//! The table of keys that controllers of the host obey, and of those of Kubernetes that do no harm.
//!
//! Sources are the pages of Kubernetes ("Well-Known Labels, Annotations and Taints") and the annotation references of the
//! projects named. A tenant's key that is here is escaped on the host.

use super::Obeyed;

/// Domains of Kubernetes itself, where a controller of the host may read anything, today's or tomorrow's.
pub(super) const KUBERNETES: Obeyed = Obeyed {
    who: "Kubernetes and its cloud controllers, autoscalers, schedulers and admission",
    keys: &["kubernetes.io", "k8s.io", "x-k8s.io"],
};

/// Keys of those domains that only describe, name the tenant's own objects (where they do, the guard judges the name), or
/// say how the traffic of the object itself is spread.
pub(super) const HARMLESS: &[&str] = &[
    // What people and tools write to describe: "Recommended Labels".
    "app.kubernetes.io/*",
    "kubectl.kubernetes.io/*",
    "kubernetes.io/change-cause",
    "kubernetes.io/description",
    "kubernetes.io/name",
    "kubernetes.io/cluster-service",
    // What the controllers of the virtual cluster write on the pods they make.
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/*",
    "controller.kubernetes.io/pod-deletion-cost",
    "deployment.kubernetes.io/*",
    "statefulset.kubernetes.io/pod-name",
    // Written at binding, from the node.
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    // Limits of the pod's own network.
    "kubernetes.io/egress-bandwidth",
    "kubernetes.io/ingress-bandwidth",
    // Services and their endpoints.
    "endpoints.kubernetes.io/*",
    "endpointslice.kubernetes.io/*",
    "kubernetes.io/service-name",
    "multicluster.kubernetes.io/service-name",
    "service.kubernetes.io/headless",
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
    // The class of a claim, before there was a field for it; judged with the claim.
    "volume.beta.kubernetes.io/storage-class",
];

/// Keys by which objects of a kind are configured.
pub(super) struct OfKind {
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    pub(super) keys: &'static [&'static str],
}

/// Kinds that an operator adds by a mapping, which exists to judge such keys.
pub(super) const OF_KIND: &[OfKind] = &[OfKind {
    group: "networking.k8s.io",
    kind: "Ingress",
    keys: &["*.ingress.kubernetes.io/*", "kubernetes.io/ingress.*"],
}];

/// Controllers of others.
pub(super) const OBEYED: &[Obeyed] = &[
    Obeyed {
        who: "service meshes, which put containers and volumes into pods and send their traffic elsewhere",
        keys: &[
            "appmesh.k8s.aws",
            "consul.hashicorp.com",
            "dapr.io",
            "istio.io",
            "kuma.io",
            "linkerd.io",
            "openservicemesh.io",
            "solo.io",
        ],
    },
    Obeyed {
        who: "networks of pods, which attach interfaces, addresses and routes",
        keys: &[
            "antrea.io",
            "cilium.io",
            "cni.cncf.io",
            "io.cilium",
            "kube-router.io",
            "ovn.org",
            "projectcalico.org",
            "spidernet.io",
            "submariner.io",
        ],
    },
    Obeyed {
        who: "load balancers, which take addresses and open Services to other networks",
        keys: &[
            "avinetworks.com",
            "citrix.com",
            "dev.inlets.manage",
            "f5.com",
            "inlets.dev",
            "kube-vip.io",
            "metallb.io",
            "metallb.universe.tf",
            "netscaler.com",
            "ngrok.com",
            "openelb.kubesphere.io",
            "purelb.io",
            "skupper.io",
            "tailscale.com",
        ],
    },
    Obeyed {
        who: "cloud providers, which give load balancers, networks and identities of the operator's account",
        keys: &[
            "aadpodidbinding",
            "alibabacloud.com",
            "aliyun.com",
            "amazonaws.com",
            "azure.com",
            "azure.workload.identity",
            "civo.com",
            "cloud.google.com",
            "cloud.tencent.com",
            "digitalocean.com",
            "gke.io",
            "hetzner.cloud",
            "huaweicloud.com",
            "linode.com",
            "openstack.org",
            "oraclecloud.com",
            "ovhcloud.com",
            "scaleway.com",
            "service.k8s.aws",
            "stackit.cloud",
            "vmware.com",
            "vultr.com",
        ],
    },
    Obeyed {
        who: "ingress controllers and gateways, which route to Services and configure how",
        keys: &[
            "getambassador.io",
            "haproxy.com",
            "haproxy.org",
            "konghq.com",
            "nginx.com",
            "nginx.org",
            "projectcontour.io",
            "traefik.io",
        ],
    },
    Obeyed {
        who: "makers of certificates and DNS records in zones of the operator's",
        keys: &["cert-manager.io", "gardener.cloud"],
    },
    Obeyed {
        who: "replicators, which copy objects to and from other namespaces",
        keys: &["appscode.com", "clusterpedia.io", "emberstack.com", "karmada.io", "liqo.io", "mittwald.de"],
    },
    Obeyed {
        who: "injectors of secrets, which read the operator's vaults",
        keys: &[
            "1password.com",
            "1password.io",
            "akeyless",
            "akv2k8s.io",
            "banzaicloud.io",
            "conjur.org",
            "cyberark.com",
            "doppler.com",
            "external-secrets.io",
            "infisical.com",
            "vault.hashicorp.com",
        ],
    },
    Obeyed {
        who: "policy engines and security agents, which exempt, label and delete objects",
        keys: &[
            "aquasec.com",
            "crowdstrike.com",
            "fairwinds.com",
            "gatekeeper.sh",
            "kubewarden.io",
            "kyverno.io",
            "neuvector.com",
            "openpolicyagent.org",
            "openshift.io",
            "stackrox.io",
            "styra.com",
            "sysdig.com",
        ],
    },
    Obeyed {
        who: "autoscalers, schedulers and deschedulers, which keep nodes alive and move pods",
        keys: &[
            "autoscaling.knative.dev",
            "karpenter.k8s.aws",
            "karpenter.sh",
            "keda.sh",
            "koordinator.sh",
            "run.ai",
            "volcano.sh",
            "yunikorn.apache.org",
        ],
    },
    Obeyed {
        who: "deployment tools, which own, prune, restart and update objects",
        keys: &[
            "argoproj.io",
            "cattle.io",
            "config.carvel.dev",
            "crossplane.io",
            "fluxcd.io",
            "k14s.io",
            "keel.sh",
            "loft.sh",
            "meta.helm.sh",
            "open-cluster-management.io",
            "operatorframework.io",
            "operators.coreos.com",
            "stakater.com",
        ],
    },
    Obeyed {
        who: "backup tools, which run commands in pods and choose what is saved",
        keys: &["k8up.io", "kanister.io", "kasten.io", "trilio.io", "velero.io"],
    },
    Obeyed {
        who: "agents of monitoring, which inject code into pods and run checks with the operator's credentials",
        keys: &[
            "co.elastic.hints",
            "co.elastic.logs",
            "co.elastic.metrics",
            "co.elastic.monitor",
            "datadoghq.com",
            "dynatrace.com",
            "fluentbit.io",
            "instana.com",
            "jaegertracing.io",
            "newrelic.com",
            "opentelemetry.io",
        ],
    },
    Obeyed {
        who: "machines and experiments, which act on the pods that they find",
        keys: &["chaos-mesh.org", "kubevirt.io", "litmuschaos.io"],
    },
];
