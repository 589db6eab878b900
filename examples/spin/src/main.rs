//! Computes for ever when asked to: for tests of fairness and deadlines.

use std::hint::black_box;
use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let mut turns = 0_u64;
    while request.uri().path() == "/spin" {
        turns = black_box(turns.wrapping_add(1));
    }
    Ok(Response::new(format!("turned {turns}\n").into()))
}
