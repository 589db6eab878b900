//! Takes memory until it gets none: for tests of the limit.

use wstd::http::{Body, Error, Request, Response};

const PIECE_BYTES: usize = 1 << 20;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let mut taken = Vec::new();
    while request.uri().path() == "/grow" {
        taken.push(vec![1_u8; PIECE_BYTES]);
    }
    Ok(Response::new(format!("took {}\n", taken.len()).into()))
}
