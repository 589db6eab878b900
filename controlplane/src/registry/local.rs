//! The registry as a `client::Cluster`, for whoever lives in the same process: the same semantics and permissions as
//! over HTTPS, and the very same encoded objects.

use super::{Attributes, Call, Deleted, Registry, User};
use api::kinds::Kind;
use api::{Object, Rejected, Resource, Tree};
use client::DeleteOptions;
use client::cluster::{Cluster, Error, Events, List, ListOptions, Patch, Target, WatchOptions, WriteOptions};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;

/// One user's way into the registry.
#[derive(Debug, Clone)]
pub struct Local {
    registry: Registry,
    user: User,
}

// === impl Local ===

impl Local {
    #[must_use]
    pub fn new(registry: Registry, user: User) -> Local {
        Local { registry, user }
    }

    fn kind(&self, resource: &Resource) -> Result<Arc<Kind>, Rejected> {
        self.registry.find(resource).ok_or_else(|| {
            let message = "the server could not find the requested resource";
            Rejected::new(api::rejected::Reason::NotFound, message).about(resource, "")
        })
    }

    fn check(&self, verb: &str, target: &Target<'_>) -> Result<(), Rejected> {
        self.registry.check(
            &self.user,
            &Attributes {
                verb,
                group: &target.resource.group,
                resource: &target.resource.plural,
                subresource: target.subresource.unwrap_or_default(),
                namespace: target.namespace.unwrap_or_default(),
                name: target.name,
                path: None,
            },
        )
    }

    fn call<'a>(&'a self, kind: &'a Arc<Kind>, target: Target<'a>, options: &'a WriteOptions) -> Call<'a> {
        Call {
            user: &self.user,
            kind,
            namespace: target.namespace,
            name: target.name,
            subresource: target.subresource,
            dry_run: options.dry_run,
            field_manager: options.field_manager.as_deref().unwrap_or(&self.user.name),
            strictness: api::codec::Strictness::Ignore,
        }
    }
}

impl Cluster for Local {
    fn get<'a>(&'a self, target: Target<'a>) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        async move {
            self.check("get", &target)?;
            let kind = self.kind(target.resource)?;
            Ok(self.registry.get(self.call(&kind, target, &WriteOptions::default())).await?)
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: Option<&'a str>,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, Error>> {
        async move {
            let target = Target { resource, namespace, name: "", subresource: None };
            self.check("list", &target)?;
            let kind = self.kind(resource)?;
            let page = self.registry.list(self.call(&kind, target, &WriteOptions::default()), options).await?;
            Ok(List { items: page.items, revision: page.revision, next: page.next })
        }
        .boxed()
    }

    fn watch<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: Option<&'a str>,
        options: WatchOptions,
    ) -> BoxFuture<'a, Result<Events, Error>> {
        async move {
            let target = Target { resource, namespace, name: "", subresource: None };
            self.check("watch", &target)?;
            let kind = self.kind(resource)?;
            Ok(self.registry.watch(self.call(&kind, target, &WriteOptions::default()), options).await?)
        }
        .boxed()
    }

    fn create<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        async move {
            self.check("create", &target)?;
            let kind = self.kind(target.resource)?;
            Ok(self.registry.create(self.call(&kind, target, &options), object).await?.object)
        }
        .boxed()
    }

    fn update<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        async move {
            self.check("update", &target)?;
            let kind = self.kind(target.resource)?;
            Ok(self.registry.update(self.call(&kind, target, &options), object).await?.object)
        }
        .boxed()
    }

    fn patch<'a>(
        &'a self,
        target: Target<'a>,
        patch: Patch,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        async move {
            self.check("patch", &target)?;
            let kind = self.kind(target.resource)?;
            Ok(self.registry.patch(self.call(&kind, target, &options), patch).await?.object)
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        target: Target<'a>,
        options: DeleteOptions,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, Error>> {
        async move {
            self.check("delete", &target)?;
            let kind = self.kind(target.resource)?;
            let write = WriteOptions { dry_run: options.dry_run, field_manager: None };
            match self.registry.delete(self.call(&kind, target, &write), options).await? {
                Deleted::Gone(_) => Ok(None),
                Deleted::Stays(object) => Ok(Some(object)),
            }
        }
        .boxed()
    }
}
