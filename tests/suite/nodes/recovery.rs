//! A virtual cluster whose keys or data are lost, expired, damaged or without space runs again, or says what to do.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::json;
use weft_tests::binaries::modules::Program;
use weft_tests::eventually::eventually;
use weft_tests::installed::Person;
use weft_tests::node::Node;
use weft_tests::pki::{Pair, expired};
use weft_tests::shared::on_shared_node;

use super::cluster::{Cluster, LONG};
use super::installed::upgrade;
use super::steps::objects;

/// What a tenant must find again.
const KEPT: [&str; 4] = ["create", "configmap", "kept", "--from-literal=a=b"];

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn keys_that_are_lost_or_expired_are_made_again_and_restored_ones_are_used() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let cluster = Cluster::create(node, &person, namespace, "vc", &[]).await?;
        cluster.run_probe("default").await?;
        cluster.kubectl(&KEPT, "").await?;
        let keys = Keys { node, namespace };
        let first = keys.read().await?;

        let old = keys.expire(&first).await?;
        keys.put_into_pod(&old).await?;
        // The hardest case: it starts again, and cannot reach an API server whose certificate has expired.
        cluster.kill("syncer").await?;
        keys.renewed(&old).await.context("while the pod runs")?;
        cluster.works("running").await.context("after certificates had expired")?;
        let old = keys.expire(&first).await?;
        restart(&cluster, &person).await?;
        cluster.works("started").await.context("after a start with certificates that have expired")?;
        keys.renewed(&old).await.context("at the start of a pod")?;

        keys.delete().await?;
        restart(&cluster, &person).await?;
        cluster.works("lost").await.context("after the keys were lost")?;
        ensure!(file(&keys.read().await?, "ca.crt") != file(&first, "ca.crt"), "the keys are the old ones");
        // CoreDNS has to see what is created after that.
        cluster.kubectl(&["create", "service", "clusterip", "later", "--tcp=80"], "").await?;
        eventually("a new Service has a name", LONG, async || {
            cluster.probe("default", &["lookup", "later"]).await
        })
        .await?;

        keys.delete().await?;
        keys.restore(&first).await?;
        restart(&cluster, &person).await?;
        cluster.works("restored").await.context("after the keys were restored")?;
        ensure!(
            file(&keys.read().await?, "ca.crt") == file(&first, "ca.crt"),
            "the restored keys are not used"
        );
        cluster.kubectl(&["get", "configmap", "kept"], "").await?;
        cluster.delete().await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_volume_that_is_full_damaged_or_emptied_is_named_with_what_to_do() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm3).await?;
        let cluster = Cluster::create(node, &person, namespace, "vc", &[]).await?;
        cluster.run_probe("default").await?;
        let disk = Disk::of(node, &cluster).await?;

        stop(&cluster, &person).await?;
        disk.shrink().await?;
        start(&cluster, &person).await?;
        cluster.works("shrunk").await?;
        disk.fill().await?;
        says(&cluster, &person, "check", "nothing has been stored for").await?;
        disk.shell("rm filler").await?;
        cluster.works("space").await.context("after there was space again")?;
        // The backup is of a store that was well, with its journal.
        stop(&cluster, &person).await?;
        disk.shell("mkdir ../good; cp -p kine.db* ../good").await?;
        start(&cluster, &person).await?;
        cluster.works("saved").await?;
        disk.fill().await?;
        restart(&cluster, &person).await?;
        says(&cluster, &person, "status", "the volume of the storage is full").await?;
        disk.shell("rm filler").await?;

        stop(&cluster, &person).await?;
        disk.shell("head -c 4096 /dev/urandom > kine.db").await?;
        start(&cluster, &person).await?;
        says(&cluster, &person, "status", "is damaged: restore it from a backup, or delete the volume")
            .await?;
        // The first page without its head, which is how a file is recognised as a database; and no journal, which may have
        // the page as well.
        disk.shell("rm -f kine.db-*; cp -p ../good/kine.db kine.db; dd if=/dev/zero of=kine.db bs=1 seek=100 count=3996 conv=notrunc")
            .await?;
        restart(&cluster, &person).await?;
        says(&cluster, &person, "status", "restore all files of the volume from a backup").await?;
        stop(&cluster, &person).await?;
        // As somebody restores it who is not the user of the pod.
        disk.shell("rm -f kine.db*; cp ../good/kine.db* .").await?;
        start(&cluster, &person).await?;
        says(&cluster, &person, "status", "/kine.db cannot be written by the user 65532").await?;
        disk.shell("chown 65532 kine.db*").await?;
        cluster.works("undamaged").await.context("after the backup was restored")?;

        disk.shell("rm -f kine.db* kubernetes-version").await?;
        restart(&cluster, &person).await?;
        let annotation = "weft.dev/virtual-cluster-uid";
        says(
            &cluster,
            &person,
            "status",
            &format!("remove the annotation {annotation} from the host Service vc"),
        )
        .await?;
        ensure!(
            objects(&person, namespace).await?.contains(HOST_PROBE),
            "nothing is deleted before somebody says so"
        );
        let forget = ["annotate", "service", "vc", "-n", namespace, &format!("{annotation}-")];
        person.run("kubectl", &forget, "").await?;
        cluster.works("empty").await.context("with new storage")?;
        eventually("the old one leaves nothing", LONG, async || {
            let found = objects(&person, namespace).await?;
            ensure!(!found.contains(HOST_PROBE), "{found:?}");
            Ok(())
        })
        .await?;
        stop(&cluster, &person).await?;
        disk.grow().await?;
        cluster.delete().await
    })
}

#[test]
#[ignore = "needs root and a real node: cargo verify nodes"]
fn a_kept_claim_outlives_its_cluster_and_a_failed_creation_and_serves_the_next_of_the_name() -> Result<()> {
    on_shared_node(async |node, namespace| {
        let person = Person::new(node, namespace, Program::Helm4).await?;
        let keep = ["--set", "persistence.keep=true"];
        let cluster = Cluster::create(node, &person, namespace, "vc", &keep).await?;
        cluster.kubectl(&KEPT, "").await?;
        let keys = Keys { node, namespace };
        let first = keys.read().await?;
        cluster.delete().await?;
        let claims = ["get", "persistentvolumeclaims", "-n", namespace, "-o", "name"];
        let claim = "persistentvolumeclaim/data-vc-0\n";
        assert_eq!(person.run("kubectl", &claims, "").await?, claim);
        // Without the value: what is kept goes on being kept.
        let create =
            ["create", "vc", "-n", namespace, "--set", "image.registry=127.0.0.1:1", "--timeout", "8s"];
        let said = person.refused(&create).await?;
        ensure!(said.contains("data-vc-0 of an earlier virtual cluster"), "{said}");
        assert_eq!(person.run("kubectl", &claims, "").await?, claim);
        keys.restore(&first).await?;
        let again = Cluster::create(node, &person, namespace, "vc", &[]).await?;
        again.kubectl(&["get", "configmap", "kept"], "").await?;
        ensure!(
            file(&keys.read().await?, "ca.crt") == file(&first, "ca.crt"),
            "the restored keys are not used"
        );
        again.works("again").await?;
        upgrade(&person, namespace, "persistence.keep=false").await?;
        again.delete().await?;
        assert_eq!(person.run("kubectl", &claims, "").await?, "", "it is kept no longer");
        Ok(())
    })
}

/// The host pod of the probe in `default`.
const HOST_PROBE: &str = "pod/probe-x-default-x-vc";

/// The certificates that expire, and whose key is that of the authority `ca`.
const LEAVES: [(&str, &str); 4] = [
    ("api", "kube-apiserver"),
    ("controllers", "system:kube-controller-manager"),
    ("syncer", "weft-syncer"),
    ("admin", "kubernetes-admin"),
];

/// The Secret with the keys of the virtual cluster `vc`.
struct Keys<'a> {
    node: &'a Node,
    namespace: &'a str,
}

impl Keys<'_> {
    async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.node.kubectl(&[arguments, &["-n", self.namespace]].concat(), input).await
    }

    async fn read(&self) -> Result<Secret> {
        Ok(serde_json::from_str(&self.kubectl(&["get", "secret", "vc-pki", "-o", "json"], "").await?)?)
    }

    async fn delete(&self) -> Result<()> {
        self.kubectl(&["delete", "secret", "vc-pki"], "").await.map(drop)
    }

    /// As from a backup: without what belongs to the object that is gone.
    async fn restore(&self, copy: &Secret) -> Result<()> {
        let metadata = json!({"name": "vc-pki", "labels": copy.labels(), "annotations": copy.annotations()});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": copy.data});
        self.kubectl(&["create", "-f", "-"], &secret.to_string()).await.map(drop)
    }

    /// Puts certificates into the Secret that have expired, and returns their files.
    async fn expire(&self, first: &Secret) -> Result<Files> {
        let file = |name| String::from_utf8(file(first, name).cloned().unwrap_or_default().0);
        let authority = Pair { certificate: file("ca.crt")?, key: file("ca.key")? };
        let mut files = Files::new();
        for (leaf, name) in LEAVES {
            let made = expired(&authority, name)?;
            for (kind, text) in [("crt", made.certificate), ("key", made.key)] {
                files.insert(format!("{leaf}.{kind}"), ByteString(text.into_bytes()));
            }
        }
        let patch = json!({"data": files}).to_string();
        self.kubectl(&["patch", "secret", "vc-pki", "--type=merge", "-p", &patch], "").await?;
        Ok(files)
    }

    /// Puts files where the programs of the pod read them.
    async fn put_into_pod(&self, files: &Files) -> Result<()> {
        let uid = self.kubectl(&["get", "pod", "vc-0", "-o", "jsonpath={.metadata.uid}"], "").await?;
        let folder = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/run/pki");
        for (name, text) in files {
            let text = std::str::from_utf8(&text.0)?;
            let write =
                r#"cd "$1"; printf %s "$3" > new; chown --reference="$2" new; chmod 600 new; mv new "$2""#;
            self.node.run(&["sh", "-euc", write, "sh", &folder, name, text]).await?;
        }
        Ok(())
    }

    /// Waits until none of these is in the Secret.
    async fn renewed(&self, old: &Files) -> Result<()> {
        eventually("every certificate is renewed", LONG, async || {
            let now = self.read().await?;
            let mut same = old.iter().filter(|(name, text)| file(&now, name) == Some(*text));
            ensure!(same.next().is_none(), "not renewed yet");
            Ok(())
        })
        .await
    }
}

/// Files of a Secret, by their names.
type Files = BTreeMap<String, ByteString>;

fn file<'a>(secret: &'a Secret, name: &str) -> Option<&'a ByteString> {
    secret.data.as_ref()?.get(name)
}

/// The folder on the node that is the volume of a virtual cluster.
struct Disk<'a> {
    node: &'a Node,
    folder: String,
}

impl<'a> Disk<'a> {
    async fn of(node: &'a Node, cluster: &Cluster<'_>) -> Result<Self> {
        let pattern = format!("echo /var/lib/volumes/*_{}_data-{}-0", cluster.namespace(), cluster.name());
        let folder = node.run(&["sh", "-c", &pattern]).await?.trim().to_owned();
        Ok(Self { node, folder })
    }

    async fn shell(&self, script: &str) -> Result<()> {
        self.node.run(&["sh", "-euc", &format!("cd {}; {script}", self.folder)]).await.map(drop)
    }

    /// Puts a small file system in its place, with the same content. Nothing may use it.
    async fn shrink(&self) -> Result<()> {
        let script = "mkdir ../whole; cp -a . ../whole; mount -t tmpfs -o size=16m,mode=777 small .; cp -a ../whole/. \"$PWD\"";
        self.shell(script).await
    }

    async fn fill(&self) -> Result<()> {
        self.shell("cat /dev/zero > filler || true").await
    }

    /// Removes the small one.
    async fn grow(&self) -> Result<()> {
        self.node.run(&["umount", &self.folder]).await.map(drop)
    }
}

async fn stop(cluster: &Cluster<'_>, person: &Person) -> Result<()> {
    scale(cluster, person, "--replicas=0").await?;
    let wait = ["wait", "--for=delete", "pod/vc-0", "--timeout=60s", "-n", cluster.namespace()];
    person.run("kubectl", &wait, "").await.map(drop)
}

async fn start(cluster: &Cluster<'_>, person: &Person) -> Result<()> {
    scale(cluster, person, "--replicas=1").await
}

async fn scale(cluster: &Cluster<'_>, person: &Person, replicas: &str) -> Result<()> {
    let scale = ["scale", "statefulset", cluster.name(), replicas, "-n", cluster.namespace()];
    person.run("kubectl", &scale, "").await.map(drop)
}

/// Replaces the pod of the control plane.
async fn restart(cluster: &Cluster<'_>, person: &Person) -> Result<()> {
    let pod = format!("{}-0", cluster.name());
    person.run("kubectl", &["delete", "pod", &pod, "-n", cluster.namespace()], "").await.map(drop)
}

/// Waits until `weft status` or `weft check` says something.
async fn says(cluster: &Cluster<'_>, person: &Person, command: &str, words: &str) -> Result<()> {
    eventually(&format!("weft {command} says it"), LONG, async || {
        let output =
            person.attempt("weft", &[command, cluster.name(), "-n", cluster.namespace()], "").await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains(words), "{words:?} is not in {said}");
        Ok(())
    })
    .await
}
