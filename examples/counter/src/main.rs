//! Two Services that call each other by name: `front` asks `back` for the next number, and `back` asks `front` how
//! far to count at a time.

use wstd::http::{Body, Client, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (variable("ROLE").as_str(), request.uri().path()) {
        (_, "/healthz") => Ok(Response::new("ok\n".to_owned().into())),
        ("front", "/step") => Ok(Response::new("2\n".to_owned().into())),
        ("front", _) => {
            let start = number(&query).unwrap_or(0);
            let answer = ask(&format!("http://counter-back/next?n={start}")).await?;
            Ok(Response::new(format!("{} via {}\n", answer.trim(), variable("POD_NAME")).into()))
        }
        ("back", "/next") => {
            let step: u64 = ask("http://counter-front/step").await?.trim().parse().unwrap_or(1);
            let next = number(&query).unwrap_or(0) + step;
            Ok(Response::new(format!("{next} from {}\n", variable("POD_NAME")).into()))
        }
        _ => {
            let mut response = Response::new("not found\n".to_owned().into());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

async fn ask(uri: &str) -> Result<String, Error> {
    let request = Request::get(uri).body(Body::empty())?;
    let mut response = Client::new().send(request).await?;
    Ok(response.body_mut().str_contents().await?.to_owned())
}

fn number(query: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix("n=")?.parse().ok())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
