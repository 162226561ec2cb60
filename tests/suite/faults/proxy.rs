//! The fault proxy itself, between a plain client and a real server: each fault is what it says it is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::fault_proxy::{FaultProxy, Matcher, gets, posts, watches};
use weft_tests::shared::in_shared_world;
use weft_tests::world::World;

/// A proxy to the virtual API server, and ConfigMaps through it and past it.
struct Bench {
    proxy: FaultProxy,
    client: Client,
    through: Api<ConfigMap>,
    past: Api<ConfigMap>,
    namespace: String,
}

impl Bench {
    async fn new(world: &World, namespace: &str) -> Result<Self> {
        let plane = world.tenant().virtual_plane();
        let file = world.dir().join(format!("{namespace}-proxy.kubeconfig"));
        let proxy = FaultProxy::start(plane, "admin", &file).await?;
        let kubeconfig = Kubeconfig::read_from(proxy.kubeconfig())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let client = Client::try_from(config)?;
        Ok(Self {
            proxy,
            through: Api::namespaced(client.clone(), namespace),
            past: Api::namespaced(plane.client().await?, namespace),
            client,
            namespace: namespace.to_owned(),
        })
    }

    fn posts(&self) -> Matcher {
        posts("configmaps").in_namespace(&self.namespace)
    }

    async fn create(&self, name: &str) -> Result<()> {
        let map = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        self.through.create(&PostParams::default(), &map).await?;
        Ok(())
    }

    async fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.past.get_opt(name).await?.is_some())
    }

    /// Head and body of the answer to a GET below the ConfigMaps of the namespace.
    async fn get(&self, rest: &str) -> Result<(http::response::Parts, String)> {
        let path = format!("/api/v1/namespaces/{}/configmaps{rest}", self.namespace);
        let (head, body) = self.client.send(Request::get(path).body(Body::empty())?).await?.into_parts();
        Ok((head, String::from_utf8(body.collect().await?.to_bytes().to_vec())?))
    }
}

#[test]
fn a_request_is_cut_or_held_before_or_after_its_effect_as_often_as_the_rule_says() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let bench = Bench::new(world, namespace).await?;
        bench.proxy.rule(bench.posts().first(1).cut_before_effect());
        bench.proxy.rule(bench.posts().nth(1).cut_after_effect());
        ensure!(bench.create("one").await.is_err() && !bench.exists("one").await?);
        ensure!(bench.create("two").await.is_err() && bench.exists("two").await?);
        bench.create("three").await?;
        bench.proxy.clear();

        for (rule, name, exists) in [
            (bench.posts().hang_before_effect(), "four", false),
            (bench.posts().hang_after_effect(), "five", true),
        ] {
            let hung = bench.proxy.rule(rule);
            let cleared = async {
                hung.at_least(1).await?;
                let sentence = format!("that {name} exists is {exists}");
                eventually(&sentence, SOON, async || {
                    ensure!(bench.exists(name).await? == exists);
                    Ok(())
                })
                .await?;
                bench.proxy.clear();
                Ok(())
            };
            let (created, cleared): (Result<()>, Result<()>) = tokio::join!(bench.create(name), cleared);
            cleared?;
            ensure!(created.is_err() && bench.exists(name).await? == exists, "{name}");
        }
        ensure!(bench.proxy.count(&bench.posts()) == 5);
        let statuses: Vec<_> = bench.proxy.requests().into_iter().map(|request| request.status).collect();
        ensure!(statuses == [None, None, Some(201), None, None], "{statuses:?}");
        Ok(())
    })
}

#[test]
fn an_answer_is_replaced_altered_or_late() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let bench = Bench::new(world, namespace).await?;
        bench.create("one").await?;
        bench.proxy.rule(gets("configmaps").first(1).answer_with_retry_after(503, "ServiceUnavailable", 7));
        let (head, body) = bench.get("/one").await?;
        let retry_after = head.headers.get(header::RETRY_AFTER).context("there is no Retry-After")?;
        ensure!(head.status == 503 && retry_after == "7" && body.contains(r#""kind":"Status""#), "{body}");
        let (head, body) = bench.get("/one").await?;
        ensure!(head.status == 200 && body.contains(r#""name":"one""#), "{body}");

        let date = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");
        bench.proxy.rule(gets("configmaps").header(header::DATE, date.clone()));
        ensure!(bench.get("/one").await?.0.headers.get(header::DATE) == Some(&date));
        bench.proxy.clear();
        bench.proxy.rule(gets("configmaps").cut_after_bytes(20));
        ensure!(bench.get("/one").await.is_err(), "a body that is cut is whole");
        bench.proxy.clear();
        let late = bench.proxy.rule(gets("configmaps").delay(Duration::from_millis(10)));
        bench.get("/one").await?;
        late.at_least(1).await?;

        let watch = "?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Done";
        let frames = bench.get(watch).await?.1;
        for (rule, expected) in [
            (watches("configmaps").drop_frames(), String::new()),
            (
                watches("configmaps").double_frames(),
                frames.split_inclusive('\n').flat_map(|line| [line, line]).collect(),
            ),
        ] {
            bench.proxy.rule(rule);
            let seen = bench.get(watch).await?.1;
            ensure!(!frames.is_empty() && seen == expected, "{seen}");
            bench.proxy.clear();
        }
        Ok(())
    })
}

#[test]
fn frozen_connections_stay_open_and_go_on() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let bench = Bench::new(world, namespace).await?;
        bench.create("one").await?;
        bench.proxy.freeze();
        let thawed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let seen = bench.proxy.count(&bench.posts());
            bench.proxy.thaw();
            seen
        };
        let (created, seen) = tokio::join!(bench.create("two"), thawed);
        created?;
        ensure!(seen == 1, "{seen} requests passed");

        bench.proxy.cut_connections();
        eventually("a new connection is well", SOON, async || bench.create("three").await).await?;
        bench.proxy.freeze_open_connections();
        let silent = tokio::time::timeout(Duration::from_secs(1), bench.create("four")).await;
        ensure!(silent.is_err(), "an old connection is not frozen");
        // What timed out has taken its connection with it.
        bench.create("four").await
    })
}
