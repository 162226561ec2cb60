//! What a client of a virtual cluster needs: its addresses, authority and credentials, from the Secret on the host.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::host::Host;
use crate::cluster::{Place, kubeconfig};

/// Key of the kubeconfig for clients in the host cluster.
const INSIDE: &str = "config";
/// Key of the kubeconfig for clients elsewhere, if the virtual cluster has an address there.
const OUTSIDE: &str = "config-outside";

/// Credentials of a virtual cluster, and the addresses that are known.
#[derive(Clone)]
pub struct Connection {
    cluster: Value,
    user: Value,
    outside: Option<Value>,
}

impl Connection {
    /// Reads the Secret of the virtual cluster.
    pub async fn read(host: &Host, place: &Place) -> Result<Self> {
        let name = format!("vc-{}", place.name);
        let secrets: Api<Secret> = Api::namespaced(host.client.clone(), &place.namespace);
        let secret = secrets.get_opt(&name).await;
        let secret = secret.with_context(|| format!("failed to read Secret {}/{name}", place.namespace))?;
        let Some(secret) = secret else {
            bail!("{place} has no kubeconfig yet; `weft status {}` shows what it waits for", place.name)
        };
        Self::parse(&secret).with_context(|| format!("Secret {}/{name} cannot be used", place.namespace))
    }

    fn parse(secret: &Secret) -> Result<Self> {
        let (cluster, user) =
            entries(secret, INSIDE)?.with_context(|| format!("it has no key `{INSIDE}`"))?;
        let outside = entries(secret, OUTSIDE)?.map(|(cluster, _)| cluster);
        Ok(Self { cluster, user, outside })
    }

    /// The cluster's entry, with `server` as its address.
    pub fn cluster_at(&self, server: &str) -> Value {
        let mut cluster = self.cluster.clone();
        if let Some(fields) = cluster.as_object_mut() {
            fields.insert("server".to_owned(), json!(server));
        }
        cluster
    }

    /// The cluster's entry with its address outside of the host cluster, if it has one.
    pub fn cluster_outside(&self) -> Option<&Value> {
        self.outside.as_ref()
    }

    /// A client for the virtual cluster; nothing is sent yet.
    pub async fn client(&self, cluster: &Value) -> Result<Client> {
        let text = kubeconfig::single("weft", cluster, &self.user)?;
        let kubeconfig = Kubeconfig::from_yaml(&text).context("its credentials cannot be used")?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Client::try_from(config.context("its credentials cannot be used")?)
            .context("its credentials cannot be used")
    }

    /// The user's entry: the credentials.
    pub fn user(&self) -> &Value {
        &self.user
    }
}

/// The cluster and the user of the kubeconfig under `key`.
fn entries(secret: &Secret, key: &str) -> Result<Option<(Value, Value)>> {
    let Some(data) = secret.data.as_ref().and_then(|data| data.get(key)) else { return Ok(None) };
    let text = std::str::from_utf8(&data.0).with_context(|| format!("`{key}` is not UTF-8"))?;
    // The parser's own message may quote the credentials.
    let config: Value = serde_saphyr::from_str(text).map_err(|_| anyhow::anyhow!("`{key}` is not YAML"))?;
    let entry =
        |pointer: &str| config.pointer(pointer).cloned().with_context(|| format!("`{key}` has no {pointer}"));
    Ok(Some((entry("/clusters/0/cluster")?, entry("/users/0/user")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(keys: &[(&str, &str)]) -> Secret {
        let data = keys
            .iter()
            .map(|(key, text)| ((*key).to_owned(), k8s_openapi::ByteString(text.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    const CONFIG: &str = "{clusters: [{name: weft, cluster: {server: 'https://a.b.svc:443', certificate-authority-data: QQ==}}], users: [{name: weft, user: {client-key-data: S0VZ}}]}";

    #[test]
    fn the_address_is_replaced_and_the_rest_kept() {
        let connection = Connection::parse(&secret(&[(INSIDE, CONFIG)])).unwrap();
        let wanted = json!({"server": "https://127.0.0.1:1", "certificate-authority-data": "QQ=="});
        assert_eq!(connection.cluster_at("https://127.0.0.1:1"), wanted);
        assert_eq!(connection.user(), &json!({"client-key-data": "S0VZ"}));
        assert_eq!(connection.cluster_outside(), None);
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_refused_without_its_content() {
        for broken in ["client-key-data: [S0VZ", "{users: [{user: {client-key-data: S0VZ}}]}"] {
            let error = format!("{:#}", Connection::parse(&secret(&[(INSIDE, broken)])).err().unwrap());
            assert!(!error.contains("S0VZ") && error.contains("`config`"), "{error}");
        }
        assert!(Connection::parse(&secret(&[])).is_err());
    }
}
