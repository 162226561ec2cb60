//! One world for all tests of a process: starting it costs more than most tests.
//!
//! A test that breaks the syncer or a server starts its own tenant or world instead. A static is
//! never dropped: the planes end because their parent process does, see [`crate::process`].

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock, Semaphore};

use crate::installed::node_options;
use crate::node::Node;
use crate::process::tail;
use crate::progress::Progress;
use crate::scratch::noting_folders;
use crate::tenant::syncer_logs;
use crate::world::World;

/// How many worlds beside the shared one may run at a time: each takes half a gigabyte or more.
const OWN_WORLDS: usize = 2;

/// Runs a test in the shared world, in a virtual namespace of its own.
pub fn in_shared_world<F>(test: F) -> Result<()>
where
    F: AsyncFnOnce(&'static World, &str) -> Result<()>,
{
    // A world that failed to start fails again; each test says why without trying.
    static WORLD: OnceCell<Result<World>> = OnceCell::const_new();
    in_runtime(async {
        match WORLD.get_or_init(World::start).await {
            Ok(world) => test(world, &fresh_namespace(world).await?).await,
            Err(error) => bail!("the shared world failed to start: {error:#}"),
        }
    })
}

/// Held by each test on the shared node, alone or with others.
static NODE_USERS: RwLock<()> = RwLock::const_new(());

/// Runs a test on the shared node, in a namespace of its own, beside others.
pub fn on_shared_node<F>(test: F) -> Result<()>
where
    F: AsyncFnOnce(&'static Node, &str) -> Result<()>,
{
    in_runtime(async {
        let _beside = NODE_USERS.read().await;
        on_node(test).await
    })
}

/// The same with no other test on the node: this one restarts it, or changes what is in no namespace.
pub fn alone_on_shared_node<F>(test: F) -> Result<()>
where
    F: AsyncFnOnce(&'static Node, &str) -> Result<()>,
{
    in_runtime(async {
        let _alone = NODE_USERS.write().await;
        on_node(test).await
    })
}

/// Runs a test that keeps every processor busy, while no test is on the shared node.
pub fn alone_on_machine(test: impl Future<Output = Result<()>>) -> Result<()> {
    in_runtime(async {
        let _alone = NODE_USERS.write().await;
        test.await
    })
}

async fn on_node<F>(test: F) -> Result<()>
where
    F: AsyncFnOnce(&'static Node, &str) -> Result<()>,
{
    static NODE: OnceCell<Result<Node>> = OnceCell::const_new();
    match NODE.get_or_init(start_node).await {
        Ok(node) => test(node, &create_namespace(&node.client().await?).await?).await,
        Err(error) => bail!("the shared node failed to start: {error:#}"),
    }
}

async fn start_node() -> Result<Node> {
    let options = node_options().await?;
    let progress = Progress::start("starting a node");
    let node = Node::start(options).await?;
    progress.done("");
    Ok(node)
}

/// Runs a test that starts planes of its own. If it fails, it says with which words its syncers' logs end.
pub fn in_own_world(test: impl Future<Output = Result<()>>) -> Result<()> {
    static ROOM: Semaphore = Semaphore::const_new(OWN_WORLDS);
    // Such futures are large, and each layer around them would be another copy on the stack.
    let test = Box::pin(test);
    in_runtime(async {
        let _place = ROOM.acquire().await?;
        let (outcome, folders) = noting_folders(test).await;
        if outcome.is_err() {
            folders.iter().flat_map(|folder| syncer_logs(folder)).for_each(|log| eprintln!("{}", tail(&log)));
        }
        outcome
    })
}

/// Runs a test that starts no planes.
///
/// All tests share one runtime: a client's connections belong to the runtime that made them, and
/// the shared world outlives each test.
pub fn in_runtime<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(Runtime::new);
    match &*RUNTIME {
        Ok(runtime) => runtime.block_on(test),
        Err(error) => bail!("failed to start the runtime of the tests: {error}"),
    }
}

/// Creates a namespace no other test uses, in the virtual cluster.
async fn fresh_namespace(world: &World) -> Result<String> {
    create_namespace(&world.tenant().virtual_plane().client().await?).await
}

async fn create_namespace(client: &Client) -> Result<String> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(name)
}
