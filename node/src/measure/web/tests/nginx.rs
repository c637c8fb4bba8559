//! The same against nginx, where it is installed (`chaos-tests/install-packages`): a server that we did not write.

use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::*;

const NGINX: &str = "/usr/sbin/nginx";

/// One worker that speaks HTTP/1.1 and 2, plain and over TLS, each on a port of its own.
async fn nginx(folder: &Path, certificate: &str, key: &str) -> Option<(Child, [SocketAddr; 4])> {
    if !Path::new(NGINX).exists() {
        return None;
    }
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
    // Bound to find free ports, and given back for nginx to take.
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); 4];
    for address in &mut addresses {
        *address = TcpListener::bind(*address).await.unwrap().local_addr().unwrap();
    }
    let [plain, plain2, tls, tls2] = addresses;
    let at = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}} \
         http {{ access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c; \
         uwsgi_temp_path {at}/d; scgi_temp_path {at}/e; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; \
         server {{ listen {plain}; listen {plain2} http2; listen {tls} ssl; listen {tls2} ssl http2; \
         location / {{ return 200 \"all is well by $server_protocol\"; }} location /sick {{ return 503; }} }} }}"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let child = Command::new(NGINX)
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = async {
        while tokio::net::TcpStream::connect(tls2).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, listens).await.unwrap();
    Some((child, addresses))
}

#[tokio::test]
async fn all_ways_to_ask_it() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some((_nginx, addresses)) = nginx(folder.path(), &certificate.pem(), &key.serialize_pem()).await else {
        return;
    };
    let web = Web::new(Tls::new(Some(folder.path().to_owned())));
    for (at, address) in addresses.into_iter().enumerate() {
        let (secure, http2) = (at >= 2, at % 2 == 1);
        for reuse in [false, true, true] {
            let tls = secure.then(|| TlsSpec { verify: true, ca: Some("cert.pem".into()) });
            let body = Some(format!("well by {}", if http2 { "HTTP/2.0" } else { "HTTP/1.1" }));
            let web_spec = WebSpec { tls, http2, reuse, ..http().web };
            let spec = HttpSpec { web: web_spec.clone(), body, ..http() };
            let attempt = get(&web, address, &spec, PATIENT).await;
            assert!(matches!(attempt.outcome, Outcome::Answered(_)), "{at} {reuse}: {attempt:?}");
            assert_eq!(attempt.seen.certificate_ends.is_some(), secure);
            let sick = HttpSpec { web: web_spec, path: "/sick".into(), ..http() };
            assert_eq!(why(get(&web, address, &sick, PATIENT).await), "status 503, wanted 200-399");
        }
    }
    // It has no health service of gRPC, and says so as a web server does.
    let spec = GrpcSpec { web: WebSpec { http2: true, ..http().web }, service: String::new() };
    let probe = probe_of(addresses[1], ProbeKind::Grpc(spec.clone()));
    let words = why(grpc::probe(&web, &probe, &spec, Sources::default(), PATIENT).await);
    assert_eq!(words, "grpc: no answer of the health service");
}
