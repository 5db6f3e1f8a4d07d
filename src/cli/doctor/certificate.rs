//! The certificate of the listener, and its key.

use chrono::{DateTime, TimeDelta, Utc};

use super::report::Report;
use crate::config::TlsFiles;
use crate::tls::PemPair;

/// Days before the end of a certificate from which on it is reported. Certificates of 90 days are renewed then.
const DAYS_LEFT: i64 = 30;

/// Checks what a server would serve now.
pub(super) fn check(files: &TlsFiles, now: DateTime<Utc>, report: &mut Report) {
    match PemPair::read(files).and_then(|pem| pem.parse(files)) {
        Err(error) => report.bad("tls", &error),
        Ok(pair) if pair.expires_at <= now => {
            report.bad("tls", &format!("the certificate expired at {}: renew it", pair.expires_at));
        }
        Ok(pair) if pair.begins_at > now => {
            report.bad("tls", &format!("the certificate is valid from {} only", pair.begins_at));
        }
        Ok(pair) if pair.expires_at < now + TimeDelta::days(DAYS_LEFT) => {
            let days = (pair.expires_at - now).num_days();
            let text = format!("the certificate expires in {days} days: see that it is renewed");
            report.note("tls", &text);
        }
        Ok(pair) => {
            report.good("tls", &format!("the certificate is valid until {}", pair.expires_at));
        }
    }
    if is_open(&files.key) {
        let text = format!(
            "everybody on this machine can read {}: set its mode to 0600",
            files.key.display()
        );
        report.bad("tls", &text);
    }
}

/// Whether users besides the file's owner and group may read it.
fn is_open(key: &std::path::Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(key).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = key;
        false
    }
}
