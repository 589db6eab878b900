//! A WASI 0.3 component: sends each request's body back while it still comes. `/lookup/NAME` answers with the addresses
//! that NAME stands for.

use bytes::Bytes;
use http_body_util::{Either, Full};
use wasip3::http::types::{self, ErrorCode};
use wasip3::http_compat::{IncomingRequestBody, http_from_wasi_request, http_into_wasi_response};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::IpAddress;

wasip3::http::service::export!(Echo);

struct Echo;

type Body = Either<Full<Bytes>, IncomingRequestBody>;

impl wasip3::exports::http::handler::Guest for Echo {
    async fn handle(request: types::Request) -> Result<types::Response, ErrorCode> {
        http_into_wasi_response(answer(http_from_wasi_request(request)?).await)
    }
}

async fn answer(request: http::Request<IncomingRequestBody>) -> http::Response<Body> {
    match request.uri().path().strip_prefix("/lookup/") {
        Some(name) => http::Response::new(Either::Left(look_up(name).await.into())),
        None => http::Response::new(Either::Right(request.into_body())),
    }
}

async fn look_up(name: &str) -> String {
    match resolve_addresses(name.to_owned()).await {
        Ok(addresses) => addresses.iter().map(|address| format!("{}\n", text(address))).collect(),
        Err(error) => format!("{name}: {error:?}\n"),
    }
}

fn text(address: &IpAddress) -> String {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
            std::net::Ipv6Addr::new(*a, *b, *c, *d, *e, *f, *g, *h).to_string()
        }
    }
}
