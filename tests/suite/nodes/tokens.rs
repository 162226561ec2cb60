//! Tokens are used by real clients in pods: their own API server takes them, and the host's does not.

use anyhow::{Context as _, Result, bail, ensure};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::Node;
use weft_tests::node::images::{CLIENTS, PROBE, clients};

use super::cluster::{Cluster, LONG, PATIENCE};

/// Where every pod finds its token.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod with a client in Go, with Python's and with curl.
struct Clients<'a> {
    person: &'a Person,
    cluster: &'a Cluster<'a>,
    /// The host's API server.
    host: String,
}

/// All of it, in a namespace of its own.
pub(super) async fn clients_use_them(node: &Node, person: &Person, cluster: &Cluster<'_>) -> Result<()> {
    node.import(&clients().await?).await?;
    let clients = Clients { person, cluster, host: node.plane().server() };
    clients.start().await?;
    clients.a_missing_secret_is_reported().await.context("a Secret that is late")?;
    clients.go_lists_and_watches().await.context("Go")?;
    clients.python_lists_and_watches().await.context("Python")?;
    clients.curl_is_answered().await.context("curl")?;
    clients.each_source_has_its_own().await.context("sources of a volume")?;
    clients.the_host_issues_none().await?;
    clients.no_mount_failed_for_want_of_a_token().await?;
    clients.they_are_renewed().await.context("renewal")?;
    clients.they_end_with_the_pod().await.context("the end of the pod")
}

impl Clients<'_> {
    async fn start(&self) -> Result<()> {
        let objects = OBJECTS.replace("CLIENTS", CLIENTS).replace("PROBE", PROBE);
        eventually("the clients are created", LONG, async || {
            self.cluster.kubectl(&["apply", "-f", "-"], &objects).await
        })
        .await?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/clients", PATIENCE]).await.map(drop)
    }

    /// Runs kubectl in the namespace of the clients.
    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["-n", "clients"], arguments].concat(), "").await
    }

    /// Runs a command in the pod.
    async fn exec(&self, command: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", "clients", "-c", "tools", "--"], command].concat()).await
    }

    /// The kubelet's reason, in names of the virtual cluster.
    async fn a_missing_secret_is_reported(&self) -> Result<()> {
        let failed = "--field-selector=reason=FailedMount,involvedObject.name=late";
        let get = ["get", "events", failed, "-o", "jsonpath={.items[*].message}"];
        eventually("an event names the Secret", LONG, async || {
            let said = self.kubectl(&get).await?;
            ensure!(said.contains("secret \"late\" not found") && !said.contains("-x-"), "{said}");
            Ok(())
        })
        .await?;
        self.kubectl(&["create", "secret", "generic", "late", "--from-literal=a=b"]).await?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/late", PATIENCE]).await.map(drop)
    }

    async fn go_lists_and_watches(&self) -> Result<()> {
        eventually("the client has listed and watched", LONG, async || {
            let log = self.kubectl(&["logs", "clients", "-c", "go"]).await?;
            ensure!(log.contains("listed 2") && log.contains("watched clients"), "{log}");
            Ok(())
        })
        .await?;
        let said = self.exec(&["/client", &self.host]).await?;
        // The client prints this for 401 alone.
        ensure!(said.starts_with("refused: "), "{said}");
        Ok(())
    }

    async fn python_lists_and_watches(&self) -> Result<()> {
        assert_eq!(
            self.exec(&["python3", "-c", PYTHON]).await?,
            "listed clients late\nwatched clients late\n"
        );
        assert_eq!(self.exec(&["python3", "-c", PYTHON_AT_HOST, &self.host]).await?, "401\n");
        Ok(())
    }

    async fn curl_is_answered(&self) -> Result<()> {
        let own = "https://kubernetes.default.svc/api/v1/namespaces/clients/pods";
        let trusted = format!("--cacert {ACCOUNT}/ca.crt");
        for (token, trust, url, expected) in [
            (format!("{ACCOUNT}/token"), trusted.as_str(), own, "200"),
            (format!("{ACCOUNT}/token"), "--insecure", self.host.as_str(), "401"),
            ("/legacy/token".to_owned(), trusted.as_str(), own, "200"),
            ("/legacy/token".to_owned(), "--insecure", self.host.as_str(), "401"),
            ("/many/vault".to_owned(), trusted.as_str(), own, "401"),
        ] {
            let script = format!(
                "read -r token < {token}; curl -sS -o /dev/null -w '%{{http_code}}' {trust} -H \"Authorization: Bearer $token\" {url}"
            );
            assert_eq!(self.exec(&["sh", "-c", &script]).await?, expected, "{token} at {url}");
        }
        Ok(())
    }

    async fn each_source_has_its_own(&self) -> Result<()> {
        let claims = self.exec(&["python3", "-c", CLAIMS, "/many/vault", "/many/deep/other"]).await?;
        assert_eq!(claims, "['vault'] 600 clients clients\n['other'] 1200 clients clients\n");
        Ok(())
    }

    /// Not for the Secrets of tenants either, whose type asks for it.
    async fn the_host_issues_none(&self) -> Result<()> {
        let of_type = "--field-selector=type=kubernetes.io/service-account-token";
        let get = ["get", "secrets", "-n", self.cluster.namespace(), of_type, "-o", "name"];
        assert_eq!(self.person.run("kubectl", &get, "").await?, "");
        Ok(())
    }

    async fn no_mount_failed_for_want_of_a_token(&self) -> Result<()> {
        let each = r#"jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\n"}{end}"#;
        let failed = "--field-selector=reason=FailedMount";
        let get = ["get", "events", "-n", self.cluster.namespace(), failed, "-o", each];
        let said = self.person.run("kubectl", &get, "").await?;
        let others: Vec<&str> = said.lines().filter(|line| !line.contains("volume \"late\"")).collect();
        ensure!(others.is_empty(), "{others:?}");
        Ok(())
    }

    /// A Secret that is gone is made again, as one whose tokens are due. A change of the pod has its kubelet mount it at once.
    async fn they_are_renewed(&self) -> Result<()> {
        let before = self.fingerprint().await?;
        let purpose = "weft.dev/purpose=token,weft.dev/namespace=clients";
        let delete = ["delete", "secrets", "-n", self.cluster.namespace(), "-l", purpose];
        self.person.run("kubectl", &delete, "").await?;
        let mut tries = 0;
        let after = eventually("the pod has another token", LONG, async || {
            tries += 1;
            self.kubectl(&["annotate", "pod", "clients", "--overwrite", &format!("tries={tries}")]).await?;
            let now = self.fingerprint().await?;
            ensure!(now != before, "it is still {now}");
            Ok(now)
        })
        .await?;
        eventually("the client that runs uses it", LONG, async || {
            let log = self.kubectl(&["logs", "clients", "-c", "go"]).await?;
            let (_, since) = log.split_once(&format!("token {after}\n")).context("not yet")?;
            ensure!(log.contains(&format!("token {before}\n")) && since.contains("listed"), "{since}");
            Ok(())
        })
        .await
    }

    /// That of the pod's token, as the client in Go prints it.
    async fn fingerprint(&self) -> Result<String> {
        let token = self.exec(&["curl", "-sS", &format!("file://{ACCOUNT}/token")]).await?;
        let sum = "import hashlib, sys; print(hashlib.sha256(sys.argv[1].encode()).hexdigest()[:16])";
        Ok(self.exec(&["python3", "-c", sum, token.trim()]).await?.trim().to_owned())
    }

    async fn they_end_with_the_pod(&self) -> Result<()> {
        let token = self.exec(&["curl", "-sS", &format!("file://{ACCOUNT}/token")]).await?;
        let connect = ["connect", self.cluster.name(), "-n", self.cluster.namespace(), "--print"];
        let kubeconfig = Kubeconfig::from_yaml(&self.person.weft(&connect).await?)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.auth_info = serde_json::from_value::<AuthInfo>(json!({"token": token.trim()}))?;
        let client = Client::try_from(config)?;
        client.apiserver_version().await.context("the token is good while its pod runs")?;
        self.kubectl(&["delete", "pod", "clients"]).await?;
        // Servers remember for some seconds that a token was good.
        eventually("the token is refused", LONG, async || match client.apiserver_version().await {
            Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
            other => bail!("{other:?}"),
        })
        .await
    }
}

/// As the client's documentation has it.
const PYTHON: &str = "
from kubernetes import client, config, watch
config.load_incluster_config()
pods = client.CoreV1Api()
print('listed', *sorted(pod.metadata.name for pod in pods.list_namespaced_pod('clients').items))
stream = watch.Watch().stream(pods.list_namespaced_pod, 'clients', timeout_seconds=1)
print('watched', *sorted({event['object'].metadata.name for event in stream}))
";

const PYTHON_AT_HOST: &str = "
import sys, urllib3
from kubernetes import client, config
urllib3.disable_warnings()
config.load_incluster_config()
other = client.Configuration.get_default_copy()
other.host, other.verify_ssl = sys.argv[1], False
try:
    client.CoreV1Api(client.ApiClient(other)).list_namespaced_pod('default')
except client.ApiException as refusal:
    print(refusal.status)
";

/// Audience, lifetime, account and pod of each token.
const CLAIMS: &str = "
import base64, json, sys
for path in sys.argv[1:]:
    claims = json.loads(base64.urlsafe_b64decode(open(path).read().split('.')[1] + '=='))
    bound = claims['kubernetes.io']
    print(claims['aud'], claims['exp'] - claims['iat'], bound['serviceaccount']['name'], bound['pod']['name'])
";

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: clients}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: clients, namespace: clients}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: clients, namespace: clients}
rules: [{apiGroups: [''], resources: [pods], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: clients, namespace: clients}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: clients}
subjects: [{kind: ServiceAccount, name: clients, namespace: clients}]
---
apiVersion: v1
kind: Secret
metadata: {name: legacy, namespace: clients, annotations: {kubernetes.io/service-account.name: clients}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: clients}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: late, image: PROBE, volumeMounts: [{name: late, mountPath: /late}]}]
  volumes: [{name: late, secret: {secretName: late}}]
---
apiVersion: v1
kind: Pod
metadata: {name: clients, namespace: clients}
spec:
  serviceAccountName: clients
  terminationGracePeriodSeconds: 0
  containers:
    - name: go
      image: CLIENTS
    - name: tools
      image: CLIENTS
      command: [python3, -c, 'import signal; signal.pause()']
      volumeMounts: [{name: many, mountPath: /many}, {name: legacy, mountPath: /legacy}]
  volumes:
    - {name: legacy, secret: {secretName: legacy}}
    - name: many
      projected:
        sources:
          - serviceAccountToken: {path: vault, audience: vault, expirationSeconds: 600}
          - serviceAccountToken: {path: deep/other, audience: other, expirationSeconds: 1200}
";
