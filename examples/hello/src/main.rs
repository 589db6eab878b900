//! Answers with the name of the pod that it runs in.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let text = match request.uri().path() {
        "/healthz" => "ok\n".to_owned(),
        path => {
            if path == "/log" {
                println!("asked for {path}");
            }
            format!("hello from {} ({})\n", variable("POD_NAME", "nobody"), variable("VERSION", "v1"))
        }
    };
    Ok(Response::new(text.into()))
}

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}
