//! Origins: web servers that tell who they are, so that a client can be asked where it landed.

use super::{Bed, START_PATIENCE, http, runnable, write};
use crate::lab::Daemon;
use crate::lab::wait::{Look, until};
use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

/// The port of every origin.
pub const PORT: u16 = 80;

/// Starts nginx on a host; it answers `/` and `/healthz` with the host's name.
pub fn start(bed: &Bed, host: &str, addresses: &[IpAddr]) -> Result<Daemon> {
    start_with(bed, host, addresses, 200)
}

/// The same, but it answers everything with an error, 500, and the host's name.
pub fn start_broken(bed: &Bed, host: &str, addresses: &[IpAddr]) -> Result<Daemon> {
    start_with(bed, host, addresses, 500)
}

fn start_with(bed: &Bed, host: &str, addresses: &[IpAddr], status: u16) -> Result<Daemon> {
    let directory = bed.run().host_directory(host)?;
    let configuration = directory.join("nginx.conf");
    write(&configuration, &text(host, addresses, status))?;
    let mut command = Command::new(runnable("nginx", &directory)?);
    command.arg("-p").arg(&directory).arg("-c").arg(&configuration).arg("-e").arg(directory.join("error.log"));
    let mut daemon = bed.daemon(host, "nginx", command)?;
    let address = addresses.first().context("a web server without an address")?;
    let at = SocketAddr::new(*address, PORT);
    until(&format!("nginx on {host} answers"), START_PATIENCE, || {
        daemon.alive()?;
        Ok(match http::get(bed.space(host)?, at, host, "/healthz", Duration::from_secs(1)) {
            Ok(page) if page.status == status && page.body.trim() == host => Look::Done(()),
            Ok(page) => Look::NotYet(format!("status {} and {:?}", page.status, page.body)),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })?;
    Ok(daemon)
}

/// One process, so that it ends with its handle: workers would outlive a killed master. `user root` says whose its folders
/// are: in a user namespace there is nobody else.
fn text(name: &str, addresses: &[IpAddr], status: u16) -> String {
    let listen: String =
        addresses.iter().map(|address| format!("        listen {};\n", SocketAddr::new(*address, PORT))).collect();
    format!(
        r#"daemon off;
user root;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
{listen}        location / {{ return {status} "{name}\n"; }}
        location = /healthz {{ return {status} "{name}\n"; }}
    }}
}}
"#
    )
}
