//! get and list: from memory, as new as the caller asks for; pages after the first, from the store's history.

use super::filter::Filter;
use super::shelf::Stored;
use super::token::Token;
use super::{Call, Page, Registry, encoded, failed, keys};
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
        self.out(call.kind, &stored.object).await
    }

    /// One object as the memory has it, at least as new as `revision` (`resourceVersion=N`; 0: whatever is there).
    pub async fn get_at_least(&self, call: Call<'_>, revision: u64) -> Result<Arc<Object>, Rejected> {
        self.0.memory.wait(revision).await?;
        if let Some(view) = self.view(&call).await? {
            return Ok(view);
        }
        let stored = self.stored(&call).ok_or_else(|| Rejected::not_found(&call.kind.resource, call.name))?;
        self.out(call.kind, &stored.object).await
    }

    /// Objects in key order. `options.next` goes on with a list at the state of its first page.
    pub async fn list(&self, call: Call<'_>, options: ListOptions) -> Result<Page, Rejected> {
        let filter = Filter::parse(&call, &options.label_selector, &options.field_selector)?;
        if let Some(next) = &options.next {
            let token = Token::read(next)?;
            if options.revision.is_some_and(|revision| revision != 0) {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Rejected::bad_request(why));
            }
            return self.next_page(&call, &filter, token, options.limit).await;
        }
        match options.revision {
            None => self.refresh().await?,
            Some(revision) => self.0.memory.wait(revision).await?,
        }
        // A list of whatever is there comes in one piece, as from upstream's watch cache.
        let limit = if options.revision == Some(0) { 0 } else { options.limit };
        let (found, revision) = self.select(&filter, "");
        self.page(&call, &filter, Found { objects: found, beyond: 0 }, revision, limit).await
    }

    /// `resourceVersionMatch=Exact`: the state at just this revision, as long as the store remembers it.
    pub async fn list_exact(&self, call: Call<'_>, options: ListOptions) -> Result<Page, Rejected> {
        let filter = Filter::parse(&call, &options.label_selector, &options.field_selector)?;
        let revision = options.revision.unwrap_or_default();
        self.0.memory.wait(revision).await?;
        let found = self.remembered(&filter, revision, None, options.limit).await?;
        let found = found.ok_or_else(|| expired("The resourceVersion for the provided list is too old."))?;
        self.page(&call, &filter, found, revision, options.limit).await
    }

    async fn next_page(&self, call: &Call<'_>, filter: &Filter, token: Token, limit: usize) -> Result<Page, Rejected> {
        let start = format!("{}{}", filter.prefix, token.start);
        let Ok(revision) = u64::try_from(token.rv) else {
            self.refresh().await?;
            let (objects, revision) = self.select(filter, &start);
            return self.page(call, filter, Found { objects, beyond: 0 }, revision, limit).await;
        };
        match self.remembered(filter, revision, Some(&start), limit).await? {
            Some(found) => self.page(call, filter, found, revision, limit).await,
            None => Err(too_old(token)),
        }
    }

    async fn page(
        &self,
        call: &Call<'_>,
        filter: &Filter,
        found: Found,
        revision: u64,
        limit: usize,
    ) -> Result<Page, Rejected> {
        let Found { mut objects, beyond } = found;
        let left = if limit > 0 { objects.len().saturating_sub(limit) as u64 + beyond } else { 0 };
        let mut next = None;
        if left > 0 {
            objects.truncate(limit);
            let last = objects.last().map(|stored| place_of(&stored.object)).unwrap_or_default();
            let last = last.strip_prefix(&filter.prefix).unwrap_or(&last);
            next = Some(Token::after(last, i64::try_from(revision).unwrap_or(i64::MAX)).write());
        }
        let remaining = (left > 0 && filter.is_everything()).then_some(left);
        let objects = objects.iter().map(|stored| Arc::clone(&stored.object)).collect();
        let items = self.out_all(call.kind, objects).await?;
        Ok(Page { items, revision, next, remaining })
    }

    /// Objects from memory that the filter selects, from the place `start` on.
    pub(super) fn select(&self, filter: &Filter, start: &str) -> (Vec<Arc<Stored>>, u64) {
        let memory = &self.0.memory;
        let shelf = memory.shelf(&filter.collection);
        let applied = || memory.applied();
        let having = |exact| shelf.having(exact, self.clock().now(), applied);
        let (mut found, revision) = match (&filter.node, &filter.exact) {
            (Some(node), _) => shelf.on_node(node, applied),
            (None, Some(exact)) => having(exact).unwrap_or_else(|| shelf.range(&filter.prefix, applied)),
            (None, None) => shelf.range(&filter.prefix, applied),
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
        limit: usize,
    ) -> Result<Option<Found>, Rejected> {
        let range = keys::objects(&filter.collection, &filter.prefix, start);
        // Where nothing is filtered out, no more is read than the page shows.
        let limit = if filter.is_everything() { limit } else { 0 };
        let range = Range { revision, limit, ..Range::newest(range) };
        let ranged = match self.0.kv.range(range).await {
            Ok(ranged) => ranged,
            Err(kv::Error::Compacted { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let beyond = ranged.count.saturating_sub(ranged.items.len() as u64);
        let objects = ranged.items.iter().filter_map(|item| encoded::at_revision(&item.value, item.mod_revision));
        let stored = objects.map(|object| Arc::new(Stored::new(object)));
        Ok(Some(Found { objects: stored.filter(|stored| filter.selects(stored)).collect(), beyond }))
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

/// What a page is cut from.
struct Found {
    objects: Vec<Arc<Stored>>,
    /// How many more there are that were not read.
    beyond: u64,
}

/// The refusal of a page whose state is forgotten; it carries a token to go on with inconsistently.
fn too_old(token: Token) -> Rejected {
    let mut rejected = expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    rejected.details.next = Token { rv: -1, ..token }.write();
    rejected
}

fn place_of(object: &Object) -> String {
    let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
    keys::place(namespace, object.name())
}

fn expired(message: impl Into<String>) -> Rejected {
    Rejected::new(Reason::Expired, message)
}
