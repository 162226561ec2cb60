//! Lists a kind: stores every object there is, page by page, then removes what the list does not have.

use tokio::time::Instant;
use weft_core::object::Object;

use crate::api;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::ResourceVersion;
use crate::engine::informer::error::Error;
use crate::engine::informer::state::{Listed, Listing, Names, State};
use crate::engine::informer::watch::Watch;
use crate::engine::informer::wire::{Page, PageMetadata};

impl<S: 'static> Watch<S> {
    /// One page of the list.
    pub(super) async fn list(&self, mut listing: Listing) -> State {
        let page = self.store_page(&listing.next, &mut listing.listed).await;
        listing.step(page.map_err(|error| error.where_kind(self.may_lack)))
    }

    async fn store_page(&self, next: &str, listed: &mut Names) -> Result<PageMetadata, Error> {
        let Page { metadata, items } = {
            let body = self.api.send(api::get(&self.selection().list_url(next))).await?;
            serde_json::from_slice(&body).map_err(Error::Frame)?
        };
        self.follow_server_back(&ResourceVersion::new(&metadata.version)).await?;
        for item in items {
            let mut object: Object<S> = api::decode(item.get().as_bytes())?;
            self.set_type(&mut object);
            listed.insert((object.namespace().to_owned(), object.name().to_owned()));
            self.put(object);
        }
        Ok(metadata)
    }

    /// Forgets versions that are newer than `version`, the server's own: it was restored to an older state, and
    /// its versions of today mean other things.
    async fn follow_server_back(&self, version: &ResourceVersion) -> Result<(), Error> {
        if self.store.is_ahead_of(version) {
            self.confirm_identity().await?;
            self.store.forget_versions();
        }
        Ok(())
    }

    /// Sets what lists leave out of their items, so that rules see the same of an object however it came.
    fn set_type(&self, object: &mut Object<S>) {
        let fields = object.fields_mut();
        if !fields.contains_key("kind") {
            fields.insert("apiVersion".to_owned(), self.resource.api_version().into());
            fields.insert("kind".to_owned(), self.resource.kind.as_ref().into());
        }
    }

    /// The end of the list.
    pub(super) async fn remove_unlisted(&self, listed: Listed) -> State {
        let removed = self.remove_all_but(&listed.listed, &listed.version).await;
        if removed.is_ok() {
            if listed.was_absent() {
                self.report_present();
            }
            self.store.set_synced();
            (self.listed)();
        }
        listed.step(removed, Instant::now())
    }

    async fn remove_all_but(&self, listed: &Names, version: &ResourceVersion) -> Result<(), Error> {
        // A first list removes nothing; but one of a kind that comes later may be what host objects go by.
        if self.may_lack || self.store.is_synced() {
            self.confirm_identity().await?;
        }
        let is_listed =
            |namespace: &str, name: &str| listed.contains(&(namespace.to_owned(), name.to_owned()));
        for (namespace, name, last) in self.store.retain(&is_listed, version) {
            (self.changed)(Changed { namespace, name, object: None, last });
        }
        Ok(())
    }
}
