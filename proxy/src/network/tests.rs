use super::*;
use crate::full;
use crate::table::Inputs;
use crate::table::tests::{inputs, slice};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 64, 0, 1));
const ALSO_HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 64, 0, 2));

fn network(inputs: &mut Inputs) -> Network {
    let (_sender, table) = watch::channel(inputs.table());
    Network::new("a", table, Peers::unconnected(), Egress::new(None))
}

fn answering(text: &'static str) -> Handler {
    Arc::new(move |request: Request<Body>, port| {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or("none").to_owned();
            Ok(Response::new(full(format!("{text} on {port} for {host}"))))
        })
    })
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("the body is whole").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn client() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 4321))
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(full("")).expect("a request")
}

fn caller() -> Caller {
    Caller { namespace: "shop".into(), ip: HERE }
}

#[tokio::test]
async fn a_node_port_request_reaches_the_pod_with_its_host() {
    let mut inputs = inputs();
    inputs.slice("shop", "hello", "s", Some(slice("hello", &[("10.64.0.1", "a", true)])));
    let network = network(&mut inputs);
    network.attach(HERE, &[8080], answering("one"));
    let mut request = get("/path");
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("edge.example:30080"));
    let response = network.serve_outside(30080, client(), request).await;
    assert_eq!(text(response).await, "one on 8080 for edge.example");
}

#[tokio::test]
async fn an_endpoint_that_just_left_is_passed_over() {
    let mut inputs = inputs();
    let both = slice("hello", &[("10.64.0.1", "a", true), ("10.64.0.2", "a", true)]);
    inputs.slice("shop", "hello", "s", Some(both));
    let network = network(&mut inputs);
    network.attach(HERE, &[8080], answering("one"));
    network.attach(ALSO_HERE, &[8080], answering("two"));
    network.detach(HERE);
    for _ in 0..20 {
        let response = network.serve_outside(30080, client(), get("/")).await;
        assert_eq!(text(response).await, "two on 8080 for hello.shop");
    }
}

#[tokio::test]
async fn no_endpoint_is_a_503_that_says_so() {
    let network = network(&mut inputs());
    let response = network.serve_outside(30080, client(), get("/")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(response).await, "service shop/hello has no ready endpoints\n");
}

#[tokio::test]
async fn a_guest_calls_services_pods_and_itself_by_name() {
    let mut inputs = inputs();
    inputs.slice("shop", "hello", "s", Some(slice("hello", &[("10.64.0.2", "a", true)])));
    let network = network(&mut inputs);
    network.attach(HERE, &[], answering("self"));
    network.attach(ALSO_HERE, &[8080], answering("hello"));
    for uri in ["http://hello/", "http://hello.shop.svc.cluster.local/", "http://10.96.0.20/", "http://10.64.0.2:8080/"]
    {
        let response = network.serve_guest(&caller(), get(uri)).await.expect(uri);
        assert!(text(response).await.starts_with("hello on 8080"), "{uri}");
    }
    let response = network.serve_guest(&caller(), get("http://localhost:9000/")).await.expect("itself");
    assert_eq!(text(response).await, "self on 9000 for localhost");
    let error = network.serve_guest(&caller(), get("http://hello:81/")).await.expect_err("no such port");
    assert_eq!(error.to_string(), "service shop/hello has no port 81");
    let error = network.serve_guest(&caller(), get("http://x.shop.svc/")).await.expect_err("no such name");
    assert_eq!(error.to_string(), "no Service is named x.shop.svc");
}

#[tokio::test]
async fn a_circle_of_calls_ends() {
    let network = network(&mut inputs());
    let mut request = get("http://localhost/");
    request.headers_mut().insert(HOPS, HeaderValue::from(HOPS_MAX));
    let error = network.serve_guest(&caller(), request).await.expect_err("it is a loop");
    assert!(error.to_string().contains("loop"), "{error}");
}

#[tokio::test]
async fn a_response_counts_as_load_until_its_body_ends() {
    let mut inputs = inputs();
    inputs.slice("shop", "hello", "s", Some(slice("hello", &[("10.64.0.1", "a", true)])));
    let network = network(&mut inputs);
    network.attach(HERE, &[8080], answering("one"));
    let endpoint = network.table().node_port(30080).expect("known").1.endpoints[0].endpoint.clone();
    let response = network.serve_outside(30080, client(), get("/")).await;
    assert_eq!(endpoint.in_flight(), 1);
    drop(response);
    assert_eq!(endpoint.in_flight(), 0);
}
