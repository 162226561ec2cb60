//! The service account tokens of pods on the host are the virtual cluster's.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Pair, Place, at, ensure_at, patch, pod};

#[test]
fn a_pods_token_is_the_virtual_clusters_and_goes_with_the_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        let (secret, token) =
            eventually("the token's Secret is there", SOON, async || token_of(&place, &pair).await).await?;
        ensure_at(&secret, "/metadata/ownerReferences/0/uid", &json!(pair.host_pod.uid()))?;

        let here = review(&place.all_virtual(), &token).await?;
        ensure_at(&here, "/status/authenticated", &json!(true))?;
        let user = format!("system:serviceaccount:{namespace}:default");
        ensure_at(&here, "/status/user/username", &json!(user))?;
        ensure_at(&here, "/status/user/extra/authentication.kubernetes.io~1pod-name", &json!(["web"]))?;
        let uid = json!([pair.virtual_pod.uid()]);
        ensure_at(&here, "/status/user/extra/authentication.kubernetes.io~1pod-uid", &uid)?;
        let there = review(&place.all_host(), &token).await?;
        ensure!(at(&there, "/status/authenticated")? != json!(true), "the host accepts the token");

        place.delete::<k8s_openapi::api::core::v1::Pod>("web").await?;
        place.gone(&pair).await?;
        eventually("the token's Secret is gone with the pod", SOON, async || {
            let left = place.on_host::<Secret>().get_opt(&secret.name_any()).await?;
            ensure!(left.is_none(), "it is there");
            Ok(())
        })
        .await?;
        // Servers remember for some seconds that a token was good.
        eventually("the gone pod's token is refused", SOON, async || {
            let late = review(&place.all_virtual(), &token).await?;
            ensure!(at(&late, "/status/authenticated")? != json!(true), "it is accepted");
            Ok(())
        })
        .await
    })
}

#[test]
fn a_token_secret_that_somebody_deletes_or_edits_is_made_good() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        let (secret, token) =
            eventually("the token's Secret is there", SOON, async || token_of(&place, &pair).await).await?;
        let secrets = place.on_host::<Secret>();
        let name = secret.name_any();

        secrets.delete(&name, &DeleteParams::default()).await?;
        let again = eventually("the Secret is there again", SOON, async || {
            let (again, _) = token_of(&place, &pair).await?;
            ensure!(again.uid() != secret.uid(), "it is the old one");
            Ok(again)
        })
        .await?;
        ensure_at(&again, "/metadata/ownerReferences/0/uid", &json!(pair.host_pod.uid()))?;

        let key = projected(&pair, "secret", "items/0/key")?;
        patch(&secrets, &name, json!({"stringData": {key: "nonsense"}})).await?;
        let repaired = eventually("the token is a token again", SOON, async || {
            let (_, repaired) = token_of(&place, &pair).await?;
            ensure!(repaired != "nonsense", "it is still what was written");
            Ok(repaired)
        })
        .await?;
        ensure!(repaired != token, "it is a new one");
        ensure_at(&review(&place.all_virtual(), &repaired).await?, "/status/authenticated", &json!(true))?;

        let labels = json!({"weft.dev/cluster": null, "weft.dev/purpose": null});
        patch(&secrets, &name, json!({"metadata": {"labels": labels}})).await?;
        eventually("its labels are there again", SOON, async || {
            let (secret, _) = token_of(&place, &pair).await?;
            ensure_at(&secret, "/metadata/labels/weft.dev~1purpose", &json!("token"))
        })
        .await
    })
}

#[test]
fn a_pod_trusts_the_virtual_clusters_authority() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        let name = projected(&pair, "configMap", "name")?;
        let ours = place.on_virtual::<ConfigMap>().get("kube-root-ca.crt").await?;
        eventually("the host pod's authority is the virtual cluster's", SOON, async || {
            let copy = place.on_host::<ConfigMap>().get(&name).await?;
            ensure!(copy.data == ours.data, "{copy:?}");
            Ok(())
        })
        .await
    })
}

/// The Secret that a host pod takes its token from, and the token.
async fn token_of(place: &Place, pair: &Pair) -> Result<(Secret, String)> {
    let name = projected(pair, "secret", "name")?;
    let secret = place.on_host::<Secret>().get(&name).await?;
    let key = projected(pair, "secret", "items/0/key")?;
    let token = secret.data.as_ref().and_then(|data| data.get(&key));
    let token = token.with_context(|| format!("{name} has no key {key}"))?;
    Ok((secret.clone(), String::from_utf8(token.0.clone())?))
}

/// A field of the first projected source of its kind among the host pod's volumes.
fn projected(pair: &Pair, source: &str, field: &str) -> Result<String> {
    let volumes = at(&pair.host_pod, "/spec/volumes")?;
    let sources =
        volumes.as_array().into_iter().flatten().filter_map(|volume| volume.pointer("/projected/sources"));
    let mut found = sources.filter_map(Value::as_array).flatten();
    let found = found.find_map(|projection| projection.pointer(&format!("/{source}/{field}"))?.as_str());
    ensure!(!volumes.to_string().contains("serviceAccountToken"), "the host would issue a token: {volumes}");
    Ok(found.with_context(|| format!("no projected {source} in {volumes}"))?.to_owned())
}

async fn review(reviews: &Api<TokenReview>, token: &str) -> Result<TokenReview> {
    let review = serde_json::from_value(json!({"spec": {"token": token}}))?;
    Ok(reviews.create(&PostParams::default(), &review).await?)
}
