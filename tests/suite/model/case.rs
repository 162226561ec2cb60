//! A case is a list of requests; it is played to both servers, and the two transcripts are compared.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::model::Model;
use weft_tests::planes::Plane;
use weft_tests::shared::in_shared_world;

use super::normal::Names;

const JSON: &str = "application/json";
/// A watch that sends less by then has nothing more to send.
const PATIENCE: Duration = Duration::from_mins(1);
/// The storage of a real server forgets what was before; the cases ask for what was at revision 2.
const FORGOTTEN: u64 = 10;
/// Any will do.
const SEED: u64 = 7;

/// One request, and what of its answer is compared.
pub(super) struct Step {
    method: Method,
    path: String,
    content_type: &'static str,
    accept: &'static str,
    body: Value,
    sees: Sees,
}

/// What of an answer is compared beside its code.
enum Sees {
    Everything,
    Fields(&'static [&'static str]),
    /// So many frames, or all until the end of the watch.
    Frames(Option<usize>),
    /// Nothing: the request is made again until it gets this code.
    Code(u16),
}

fn step(method: Method, path: &str, content_type: &'static str, body: Value) -> Step {
    Step { method, path: path.to_owned(), content_type, accept: JSON, body, sees: Sees::Everything }
}

/// Paths are those in the namespace of the case, such as `configmaps/a`, or absolute. `{{2/metadata/uid}}` in a path or a body
/// is what the answer to the third request has there.
pub(super) fn get(path: &str) -> Step {
    step(Method::GET, path, JSON, Value::Null)
}

pub(super) fn post(path: &str, body: Value) -> Step {
    step(Method::POST, path, JSON, body)
}

pub(super) fn put(path: &str, body: Value) -> Step {
    step(Method::PUT, path, JSON, body)
}

pub(super) fn merge(path: &str, body: Value) -> Step {
    step(Method::PATCH, path, "application/merge-patch+json", body)
}

pub(super) fn strategic(path: &str, body: Value) -> Step {
    step(Method::PATCH, path, "application/strategic-merge-patch+json", body)
}

pub(super) fn json_patch(path: &str, body: Value) -> Step {
    step(Method::PATCH, path, "application/json-patch+json", body)
}

pub(super) fn delete(path: &str, options: Value) -> Step {
    step(Method::DELETE, path, JSON, options)
}

/// So many frames of a watch; the query is appended.
pub(super) fn watch(path: &str, query: &str, frames: usize) -> Step {
    Step { sees: Sees::Frames(Some(frames)), ..get(&format!("{path}?watch=1&{query}")) }
}

/// All frames until the server ends the watch.
pub(super) fn whole_watch(path: &str, query: &str) -> Step {
    Step { sees: Sees::Frames(None), ..get(&format!("{path}?watch=1&{query}")) }
}

impl Step {
    /// Only these fields are compared.
    pub(super) fn sees(self, fields: &'static [&'static str]) -> Self {
        Self { sees: Sees::Fields(fields), ..self }
    }

    /// It is made again until it gets this code.
    pub(super) fn until(self, code: u16) -> Self {
        Self { sees: Sees::Code(code), ..self }
    }

    pub(super) fn accepting(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub(super) fn in_format(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }
}

/// One of the two servers, and what it has answered so far.
struct Side {
    client: kube::Client,
    namespace: String,
    answers: Vec<Value>,
    names: Names,
    transcript: Vec<String>,
}

/// Plays the case to both servers, and fails where they differ.
pub(super) fn same(steps: &[Step]) -> Result<()> {
    in_shared_world(async |world, namespace| {
        let namespace = format!("model-{namespace}");
        let real = world.host().client().await?;
        prepare(world.host(), &real).await?;
        let mut real = Side::new(real, &namespace).await?;
        real.account().await?;
        let mut model = Side::new(Model::new(SEED).client(), &namespace).await?;
        tokio::try_join!(real.play(steps), model.play(steps))?;
        compare(&real.transcript, &model.transcript)
    })
}

fn compare(real: &[String], model: &[String]) -> Result<()> {
    let differ = real.iter().zip(model).filter(|(real, model)| real != model);
    let differ: Vec<String> =
        differ.map(|(real, model)| format!("a real server: {real}\nthe model: {model}")).collect();
    ensure!(differ.is_empty(), "the servers differ\n{}", differ.join("\n"));
    Ok(())
}

impl Side {
    async fn new(client: kube::Client, namespace: &str) -> Result<Self> {
        let side = Self {
            client,
            namespace: namespace.to_owned(),
            answers: Vec::new(),
            names: Names::default(),
            transcript: Vec::new(),
        };
        let body = json!({"metadata": {"name": namespace}});
        let (code, answer) = side.send(&post("/api/v1/namespaces", body)).await?;
        ensure!(code == 201, "the namespace was not created: {answer:?}");
        Ok(side)
    }

    /// Waits for what pods need on a real server.
    async fn account(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually("the namespace has its account", SOON, async || {
            accounts.get("default").await?;
            Ok(())
        })
        .await
    }

    async fn play(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let line = format!("{} {}", step.method, step.path);
            let (code, answers) = self.answer(step).await.with_context(|| line.clone())?;
            let mut seen =
                answers.iter().map(|answer| self.seen(step, answer)).collect::<Result<Vec<_>>>()?;
            // How many bookmarks come one after the other is a matter of time.
            seen.dedup();
            self.transcript.push(format!("{line} {code}\n{}", seen.join("\n")));
            self.answers.push(answers.into_iter().next().unwrap_or_default());
        }
        Ok(())
    }

    async fn answer(&self, step: &Step) -> Result<(u16, Vec<Value>)> {
        let Sees::Code(wanted) = step.sees else { return self.send(step).await };
        eventually(&format!("{} gets {wanted}", step.path), SOON, async || {
            let (code, answer) = self.send(step).await?;
            ensure!(code == wanted, "it got {code}: {answer:?}");
            Ok((code, Vec::new()))
        })
        .await
    }

    async fn send(&self, step: &Step) -> Result<(u16, Vec<Value>)> {
        let body = if step.body.is_null() { Vec::new() } else { self.filled(&step.body.to_string())?.into() };
        let request = Request::builder()
            .method(step.method.clone())
            .uri(self.filled(&self.path(&step.path))?)
            .header(header::CONTENT_TYPE, step.content_type)
            .header(header::ACCEPT, step.accept)
            .body(Body::from(body))?;
        let response = self.client.send(request).await?;
        let code = response.status().as_u16();
        let frames = match step.sees {
            Sees::Frames(frames) if code == 200 => frames.unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let answers = tokio::time::timeout(PATIENCE, lines(response.into_body(), frames)).await;
        Ok((code, answers.context("a watch has sent too little")??))
    }

    /// The URL of a path in the namespace of the case.
    fn path(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        let group = match path.split(['/', '?']).next() {
            Some("widgets") => "/apis/model.weft.test/v1",
            Some("endpointslices") => "/apis/discovery.k8s.io/v1",
            _ => "/api/v1",
        };
        format!("{group}/namespaces/{}/{path}", self.namespace)
    }

    /// Puts what earlier answers have in the place of references to them.
    fn filled(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        for (index, piece) in text.split("{{").enumerate() {
            let (reference, rest) = match index {
                0 => ("", piece),
                _ => piece.split_once("}}").context("a reference has no end")?,
            };
            if let Some((step, pointer)) = reference.split_once('/') {
                let answer = self.answers.get(step.parse::<usize>()?).context("no such answer yet")?;
                let value = answer.pointer(&format!("/{pointer}")).and_then(Value::as_str);
                filled.push_str(value.with_context(|| format!("{reference} is no string of {answer}"))?);
            }
            filled.push_str(rest);
        }
        Ok(filled.replace("NAMESPACE", &self.namespace))
    }

    /// What of an answer is compared, with the server's own choices replaced.
    fn seen(&mut self, step: &Step, answer: &Value) -> Result<String> {
        let normal = self.names.normal(answer);
        let is_refusal = answer.get("kind").is_some_and(|kind| kind == "Status");
        let seen = match step.sees {
            Sees::Fields(fields) if !is_refusal => {
                let at = |field: &&'static str| {
                    ((*field).to_owned(), normal.pointer(field).cloned().unwrap_or_default())
                };
                Value::Object(fields.iter().map(at).collect())
            }
            _ => normal,
        };
        Ok(serde_json::to_string_pretty(&seen)?)
    }
}

/// The lines of a body, each a JSON value; at most so many.
async fn lines(mut body: Body, most: usize) -> Result<Vec<Value>> {
    let (mut lines, mut rest) = (Vec::new(), Vec::new());
    while lines.len() < most {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.into_data()
        else {
            continue;
        };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n').filter(|_| lines.len() < most) {
            let line: Vec<u8> = rest.drain(..=end).collect();
            lines.push(line);
        }
    }
    if !rest.is_empty() && lines.len() < most {
        lines.push(rest);
    }
    lines.iter().map(|line| Ok(serde_json::from_slice(line).unwrap_or_else(|_| json!("no JSON")))).collect()
}

/// Makes a real server ready for all cases, once.
async fn prepare(plane: &Plane, client: &kube::Client) -> Result<()> {
    static READY: OnceCell<Result<()>> = OnceCell::const_new();
    let prepare = async || {
        define(client.clone()).await?;
        plane.compact(FORGOTTEN).await
    };
    match READY.get_or_init(prepare).await {
        Ok(()) => Ok(()),
        Err(error) => bail!("the real server is not ready for the cases: {error:#}"),
    }
}

/// Defines the kind of custom resources that the model has.
async fn define(client: kube::Client) -> Result<()> {
    let schema = json!({"openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    }});
    let definition = serde_json::from_value(json!({
        "metadata": {"name": "widgets.model.weft.test"},
        "spec": {
            "group": "model.weft.test", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}},
            }],
        },
    }))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition).await?;
    eventually("widgets are served", SOON, async || {
        let request = http::Request::get("/apis/model.weft.test/v1/widgets").body(Vec::new())?;
        client.request::<Value>(request).await?;
        Ok(())
    })
    .await
}
