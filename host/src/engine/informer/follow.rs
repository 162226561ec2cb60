//! Watches a kind: brings each event of the server into the store.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::api;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::ResourceVersion;
use crate::engine::informer::error::Error;
use crate::engine::informer::frames::Frames;
use crate::engine::informer::state::{Effect, State, Watching};
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::Event;

/// How much later than asked a server may end a watch before it counts as dead.
const LATE: Duration = Duration::from_secs(5);

impl<S: 'static> Watch<S> {
    /// One watch, to its end.
    pub(super) async fn follow(&self, mut watching: Watching) -> State {
        let end = self.read_events(&mut watching).await;
        let end = end.map_err(|error| error.where_kind(self.may_lack));
        if end.as_ref().is_err_and(Error::is_expired) {
            debug!(kind = %self.resource.kind, "the server has forgotten our place in the watch");
        }
        watching.step(end, Instant::now())
    }

    async fn read_events(&self, watching: &mut Watching) -> Result<(), Error> {
        let url = self.selection().watch_url(&watching.version, self.lifetime);
        let response =
            timeout(LATE * 2, self.api.start(api::get(&url))).await.map_err(|_| Error::Silent)??;
        let mut frames = Frames::new(response.into_body(), Instant::now() + self.lifetime + LATE);
        while let Some(line) = frames.next().await? {
            let effect = watching.event(Event::read(&line).map_err(Error::Frame)?)?;
            self.carry_out(effect, &watching.version)?;
        }
        Ok(())
    }

    fn carry_out(&self, effect: Effect<'_>, version: &ResourceVersion) -> Result<(), Error> {
        match effect {
            Effect::Put { namespace, name, object } if !self.store.knows(&namespace, &name, version) => {
                self.put(api::decode(object.as_bytes())?);
            }
            Effect::Remove { namespace, name, absence } => {
                let last = self.store.remove(&namespace, &name, version.clone(), absence);
                let (namespace, name) = (namespace.into_owned(), name.into_owned());
                (self.changed)(Changed { namespace, name, object: None, last });
            }
            Effect::Put { .. } | Effect::Nothing => {}
        }
        Ok(())
    }
}
