//! The routes, remembered, so that what is there can be listed: for the API's description, and for the test that asks
//! each of them who may use it.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post, put};

use super::app::Portal;

/// A method and the path that it is for, in the notation of axum: `/cells/{node}/{cell}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path.
    pub path: &'static str,
    /// `GET`, `POST`, `PUT`, `DELETE`.
    pub method: &'static str,
}

/// Routes, and the list of them.
#[derive(Debug, Default)]
pub(super) struct Routes {
    router: Router<Arc<Portal>>,
    list: Vec<Route>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn get<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("GET", path, get(handler))
    }

    pub(super) fn post<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("POST", path, post(handler))
    }

    pub(super) fn put<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("PUT", path, put(handler))
    }

    pub(super) fn delete<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("DELETE", path, delete(handler))
    }

    /// The same, with a handler that was given layers of its own, such as another limit of its body.
    pub(super) fn add(mut self, method: &'static str, path: &'static str, handler: MethodRouter<Arc<Portal>>) -> Self {
        self.list.push(Route { path, method });
        self.router = self.router.route(path, handler);
        self
    }

    /// These and those of `other`.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        self.router = self.router.merge(other.router);
        self
    }

    pub(super) fn list(&self) -> Vec<Route> {
        let mut list = self.list.clone();
        list.sort_unstable();
        list
    }

    pub(super) fn into_router(self) -> Router<Arc<Portal>> {
        self.router
    }
}
