//! get and list: from memory, as new as the caller asks for; pages after the first, from the store's history.

use super::filter::Filter;
use super::shelf::Stored;
use super::token::Token;
use super::{Call, Page, Registry, convert, encoded, failed, keys};
use crate::store::kv::{self, Range};
use api::rejected::Reason;
use api::{Object, Rejected};
use client::ListOptions;
use std::sync::Arc;

impl Registry {
    /// The newest state of one object: linearizable.
    pub async fn get(&self, call: Call<'_>) -> Result<Arc<Object>, Rejected> {
        self.refresh().await?;
        if let Some(view) = self.view(&call).await? {
            return Ok(view);
        }
        let stored = self.stored(&call).ok_or_else(|| Rejected::not_found(&call.kind.resource, call.name))?;
        convert::out(call.kind, &stored.object)
    }

    /// One object as the memory has it, at least as new as `revision` (`resourceVersion=N`; 0: whatever is there).
    pub async fn get_at_least(&self, call: Call<'_>, revision: u64) -> Result<Arc<Object>, Rejected> {
        self.0.memory.wait(revision).await?;
        if let Some(view) = self.view(&call).await? {
            return Ok(view);
        }
        let stored = self.stored(&call).ok_or_else(|| Rejected::not_found(&call.kind.resource, call.name))?;
        convert::out(call.kind, &stored.object)
    }

    /// Objects in key order. `options.next` goes on with a list at the state of its first page.
    pub async fn list(&self, call: Call<'_>, options: ListOptions) -> Result<Page, Rejected> {
        let filter = Filter::parse(&call, &options.label_selector, &options.field_selector)?;
        if let Some(next) = &options.next {
            return self.next_page(&call, &filter, Token::read(next)?, options.limit).await;
        }
        match options.revision {
            None => self.refresh().await?,
            Some(revision) => self.0.memory.wait(revision).await?,
        }
        let (found, revision) = self.select(&filter, "");
        page(&call, &filter, found, revision, options.limit)
    }

    /// `resourceVersionMatch=Exact`: the state at just this revision, as long as the store remembers it.
    pub async fn list_exact(&self, call: Call<'_>, options: ListOptions) -> Result<Page, Rejected> {
        let filter = Filter::parse(&call, &options.label_selector, &options.field_selector)?;
        let revision = options.revision.unwrap_or_default();
        self.0.memory.wait(revision).await?;
        let found = self.remembered(&filter, revision, None).await?;
        let found = found.ok_or_else(|| expired("The resourceVersion for the provided list is too old."))?;
        page(&call, &filter, found, revision, options.limit)
    }

    async fn next_page(&self, call: &Call<'_>, filter: &Filter, token: Token, limit: usize) -> Result<Page, Rejected> {
        let Ok(revision) = u64::try_from(token.rv) else {
            self.refresh().await?;
            let (found, revision) = self.select(filter, &token.start);
            return page(call, filter, found, revision, limit);
        };
        match self.remembered(filter, revision, Some(&token.start)).await? {
            Some(found) => page(call, filter, found, revision, limit),
            None => Err(self.too_old(&token)),
        }
    }

    /// The refusal of a page whose state is forgotten; it carries a token to go on with inconsistently.
    fn too_old(&self, token: &Token) -> Rejected {
        let inconsistent = Token { rv: -1, ..token.clone() }.write();
        let message = format!(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the \
             list. The token is {inconsistent}"
        );
        let mut rejected = expired(message);
        rejected.details.uid = inconsistent;
        rejected
    }

    /// Objects from memory that the filter selects, from the place `start` on.
    pub(super) fn select(&self, filter: &Filter, start: &str) -> (Vec<Arc<Stored>>, u64) {
        let memory = &self.0.memory;
        let shelf = memory.shelf(&filter.collection);
        let applied = || memory.applied();
        let (mut found, revision) = match &filter.node {
            Some(node) => shelf.on_node(node, applied),
            None => shelf.range(&filter.prefix, applied),
        };
        found.retain(|stored| filter.selects(stored) && (start.is_empty() || *place_of(&stored.object) >= *start));
        (found, revision)
    }

    /// Objects as they were at a revision. `None` if the store has forgotten it.
    async fn remembered(
        &self,
        filter: &Filter,
        revision: u64,
        start: Option<&str>,
    ) -> Result<Option<Vec<Arc<Stored>>>, Rejected> {
        let range = keys::objects(&filter.collection, &filter.prefix, start);
        let range = Range { revision, ..Range::newest(range) };
        let items = match self.0.kv.range(range).await {
            Ok(ranged) => ranged.items,
            Err(kv::Error::Compacted { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let objects = items.iter().filter_map(|item| encoded::at_revision(&item.value, item.mod_revision));
        let stored = objects.map(|object| Arc::new(Stored::new(object, filter.is_of_pods())));
        Ok(Some(stored.filter(|stored| filter.selects(stored)).collect()))
    }

    /// Waits until the memory shows all that was written anywhere before this call.
    pub(super) async fn refresh(&self) -> Result<(), Rejected> {
        // A linearizable read of no key: its only answer is the revision.
        let nothing = Range { keys_only: true, ..Range::newest(kv::KeyRange::key("/")) };
        let revision = self.0.kv.range(nothing).await.map_err(|error| failed(&error))?.revision;
        self.0.memory.wait(revision).await
    }

    /// The object of a call, as the memory has it now.
    pub(super) fn stored(&self, call: &Call<'_>) -> Option<Arc<Stored>> {
        let shelf = self.0.memory.shelf(&keys::collection(&call.kind.resource));
        shelf.get(&keys::place(call.namespace, call.name))
    }
}

fn page(
    call: &Call<'_>,
    filter: &Filter,
    mut found: Vec<Arc<Stored>>,
    revision: u64,
    limit: usize,
) -> Result<Page, Rejected> {
    let mut next = None;
    let mut remaining = None;
    if limit > 0 && found.len() > limit {
        let left = found.len() - limit;
        found.truncate(limit);
        remaining = filter.is_everything().then_some(left as u64);
        let last = found.last().map(|stored| place_of(&stored.object)).unwrap_or_default();
        next = Some(Token::after(&last, i64::try_from(revision).unwrap_or(i64::MAX)).write());
    }
    let items: Result<Vec<_>, Rejected> = found.iter().map(|stored| convert::out(call.kind, &stored.object)).collect();
    Ok(Page { items: items?, revision, next, remaining })
}

fn place_of(object: &Object) -> String {
    let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
    keys::place(namespace, object.name())
}

fn expired(message: impl Into<String>) -> Rejected {
    Rejected::new(Reason::Expired, message)
}
