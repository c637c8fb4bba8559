//! TLS, HTTP/2, gRPC, bodies and kept connections.

use super::*;

fn good(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let version = format!("{:?} host {:?}", request.version(), request.uri().authority());
    Response::new(Full::new(Bytes::from(format!("all is well, {version}"))))
}

fn loaded(_: &Request<Incoming>) -> Response<Full<Bytes>> {
    let load = "TEXT cpu_utilization=0.3";
    Response::builder().header("endpoint-load-metrics", load).body(Full::default()).unwrap()
}

fn grpc_health(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let right = request.uri().path() == "/grpc.health.v1.Health/Check"
        && request.headers()["content-type"] == "application/grpc"
        && request.headers()["te"] == "trailers";
    let response = Response::builder().header("content-type", "application/grpc");
    let length = request.headers().get("content-length").and_then(|length| length.to_str().ok()).unwrap_or_default();
    match (right, length) {
        // Nothing asked: serving. "up", "down" and "gone" by their lengths.
        (true, "5") => response.body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]))).unwrap(),
        (true, "9") => response.body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]))).unwrap(),
        (true, "11") => response.body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 2]))).unwrap(),
        _ => response.header("grpc-status", "5").body(Full::default()).unwrap(),
    }
}

fn tls(verify: bool, ca: Option<&str>) -> Option<TlsSpec> {
    Some(TlsSpec { verify, ca: ca.map(str::to_owned) })
}

fn with_authority(pem: &str) -> (tempfile::TempDir, Web) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ours.pem"), pem).unwrap();
    let web = Web::new(Tls::new(Some(directory.path().to_owned())));
    (directory, web)
}

fn https(tls: Option<TlsSpec>, http2: bool) -> HttpSpec {
    let plain = http();
    HttpSpec { web: WebSpec { tls, http2, ..plain.web }, ..plain }
}

#[tokio::test]
async fn both_versions_answer_with_tls_and_without() {
    let (pem, config) = certificate("www.example.com", &[b"h2", b"http/1.1"], |_| {});
    let (_directory, web) = with_authority(&pem);
    for http2 in [false, true] {
        for config in [None, Some(config.clone())] {
            let secure = config.is_some().then(|| tls(true, Some("ours.pem"))).flatten();
            let server = serve(config, http2, good).await;
            let version = if http2 { "HTTP/2.0 host Some(www.example.com)" } else { "HTTP/1.1 host None" };
            let spec = HttpSpec { body: Some(format!("well, {version}")), ..https(secure.clone(), http2) };
            let attempt = get(&web, server.address, &spec, PATIENT).await;
            assert!(matches!(attempt.outcome, Outcome::Answered(_)), "{http2} {secure:?}: {attempt:?}");
            assert_eq!(attempt.seen.certificate_ends.is_some(), secure.is_some());
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_and_verify_can_be_off() {
    let old = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let (pem, config) = certificate("www.example.com", &[], old);
    let server = serve(Some(config), false, good).await;
    let (_directory, web) = with_authority(&pem);
    let spec = https(tls(true, Some("ours.pem")), false);
    assert_eq!(why(get(&web, server.address, &spec, PATIENT).await), "tls: the certificate has expired");
    let unchecked = get(&web, server.address, &https(tls(false, None), false), PATIENT).await;
    assert!(matches!(unchecked.outcome, Outcome::Answered(_)), "{unchecked:?}");
    assert_eq!(unchecked.seen.certificate_ends, Some(1_609_459_200));

    let (pem, config) = certificate("other.example.com", &[], |_| {});
    let server = serve(Some(config), false, good).await;
    let (_directory, web) = with_authority(&pem);
    let words = why(get(&web, server.address, &spec, PATIENT).await);
    assert!(words.starts_with("tls: the certificate is not for www.example.com, but for"), "{words}");
    // Another's authority.
    let ours = |params: &mut CertificateParams| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    };
    let (pem, _) = certificate("www.example.com", &[], ours);
    let (_directory, web) = with_authority(&pem);
    let words = why(get(&web, server.address, &spec, PATIENT).await);
    assert_eq!(words, "tls: the certificate is signed by an authority that is not trusted");
    // A file that is not there, and none to look for it in.
    let lost = https(tls(true, Some("lost.pem")), false);
    assert!(why(get(&web, server.address, &lost, PATIENT).await).starts_with("not probed: cannot read"));
    assert!(why(get(&Web::default(), server.address, &lost, PATIENT).await).contains("measure.authorities"));
}

#[tokio::test]
async fn a_server_without_tls_or_without_http2_says_so() {
    let plain = serve(None, false, good).await;
    let web = Web::default();
    let words = why(get(&web, plain.address, &https(tls(false, None), false), PATIENT).await);
    assert_eq!(words, "tls: no TLS spoken there");
    let (_, config) = certificate("www.example.com", &[b"http/1.1"], |_| {});
    let server = serve(Some(config), false, good).await;
    let words = why(get(&web, server.address, &https(tls(false, None), true), PATIENT).await);
    assert!(words.starts_with("tls: "), "{words}");
    let (_, config) = certificate("www.example.com", &[], |_| {});
    let server = serve(Some(config), false, good).await;
    let words = why(get(&web, server.address, &https(tls(false, None), true), PATIENT).await);
    assert_eq!(words, "tls: the server does not speak HTTP/2");
    let words = why(get(&web, plain.address, &https(None, true), PATIENT).await);
    assert!(words.starts_with("http: "), "{words}");
}

#[tokio::test]
async fn a_body_must_hold_what_is_wanted_across_frames() {
    let server = serve(None, false, good).await;
    let web = Web::default();
    for (wanted, found) in [("all is well", true), ("is w", true), ("all is lost", false)] {
        let spec = HttpSpec { body: Some(wanted.into()), ..http() };
        let words = why(get(&web, server.address, &spec, PATIENT).await);
        assert_eq!(words.starts_with("Answered"), found, "{wanted}: {words}");
        assert_eq!(words == format!("body without {wanted:?}"), !found);
    }
}

#[tokio::test]
async fn load_reports_come_along() {
    let server = serve(None, false, loaded).await;
    let attempt = get(&Web::default(), server.address, &http(), PATIENT).await;
    assert_eq!(attempt.seen.load.as_deref(), Some("TEXT cpu_utilization=0.3"));
}

#[tokio::test]
async fn a_kept_connection_serves_again_and_one_that_was_closed_is_no_failure() {
    let (_, config) = certificate("www.example.com", &[b"h2", b"http/1.1"], |_| {});
    for (http2, config) in [(false, None), (true, None), (false, Some(config.clone())), (true, Some(config))] {
        let mut spec = https(config.is_some().then(|| tls(false, None)).flatten(), http2);
        spec.web.reuse = true;
        let server = serve(config.clone(), http2, good).await;
        let web = Web::default();
        for _ in 0..3 {
            let attempt = get(&web, server.address, &spec, PATIENT).await;
            assert!(matches!(attempt.outcome, Outcome::Answered(_)), "{http2}: {attempt:?}");
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{http2}");
        // The server closes it and stands up again at the same place.
        let address = server.address;
        drop(server);
        let listener = rebind(address).await;
        let accepted = tokio::spawn(async move { listener.accept().await });
        let late = get(&web, address, &spec, HASTY).await;
        assert_eq!(why(late), "timeout after 150ms", "asked again over a fresh connection");
        tokio::time::timeout(PATIENT, accepted).await.unwrap().unwrap().unwrap();
        web.keep_only(|_| false);
        assert!(web.kept().is_empty());
    }
}

async fn rebind(address: SocketAddr) -> TcpListener {
    let bind = async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENT, bind).await.unwrap()
}

#[tokio::test]
async fn grpc_health_in_all_its_answers() {
    let (_, config) = certificate("www.example.com", &[b"h2"], |_| {});
    for config in [None, Some(config)] {
        let server = serve(config.clone(), true, grpc_health).await;
        let web = Web::default();
        let ask = async |service: &str| {
            let host = "www.example.com".to_owned();
            let tls = config.as_ref().and_then(|_| tls(false, None));
            let spec = GrpcSpec { web: WebSpec { host, tls, http2: true, reuse: true }, service: service.into() };
            let probe = probe_of(server.address, ProbeKind::Grpc(spec.clone()));
            why(grpc::probe(&web, &probe, &spec, Sources::default(), PATIENT).await)
        };
        assert!(ask("").await.starts_with("Answered"));
        assert!(ask("up").await.starts_with("Answered"));
        assert_eq!(ask("down").await, "grpc: the service says NOT_SERVING");
        assert_eq!(ask("gone.or.so").await, "grpc: the service is not known there");
    }
    let server = serve(None, true, good).await;
    let spec = GrpcSpec { web: WebSpec { http2: true, ..http().web }, service: String::new() };
    let probe = probe_of(server.address, ProbeKind::Grpc(spec.clone()));
    let words = why(grpc::probe(&Web::default(), &probe, &spec, Sources::default(), PATIENT).await);
    assert_eq!(words, "grpc: no answer of the health service");
}
