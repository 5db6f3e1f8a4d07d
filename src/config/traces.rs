//! Settings of traces: the names of OpenTelemetry's specification.

use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::source::Source;
use crate::limits::{MAX_TRACES_QUEUE, TRACES_BATCH, TRACES_DELAY, TRACES_QUEUE, TRACES_TIMEOUT};

/// Where spans are sent, and which.
#[derive(Clone)]
pub struct TraceConfig {
    /// The receiver. It may contain a secret.
    pub endpoint: Url,
    /// Headers of each request, marked as secrets.
    pub headers: HeaderMap,
    /// Time limit of a request.
    pub timeout: Duration,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// The attributes of the process, `service.name` among them.
    pub resource: Vec<(String, String)>,
    /// How many spans may wait.
    pub queue: usize,
    /// The most spans of one request.
    pub batch: usize,
    /// How long spans wait for others.
    pub delay: Duration,
}

impl std::fmt::Debug for TraceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TraceConfig({})", self.endpoint.host_str().unwrap_or_default())
    }
}

impl TraceConfig {
    /// `None` if traces are off: no receiver is named, or traces are disabled.
    pub(super) fn from_source(source: &Source, errors: &mut Vec<String>) -> Option<Self> {
        let is_disabled =
            source.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_disabled || source.get("OTEL_TRACES_EXPORTER") == Some("none") {
            return None;
        }
        let endpoint = endpoint(source, errors)?;
        if source.get("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp") {
            errors.push("OTEL_TRACES_EXPORTER must be otlp or none".to_owned());
        }
        if let Some((name, value)) = of_traces(source, "PROTOCOL")
            && value != "http/protobuf"
        {
            errors.push(format!("{name} must be http/protobuf"));
        }
        let millis = |name: &str, default: Duration, errors: &mut Vec<String>| {
            let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(source.parse(name, default, "a number of milliseconds", errors))
        };
        let timeout = of_traces(source, "TIMEOUT").map_or("OTEL_EXPORTER_OTLP_TIMEOUT", |(n, _)| n);
        let rule = format!("a number from 1 to {MAX_TRACES_QUEUE}");
        let mut count = |name: &str, default| {
            let count = source.parse(name, default, &rule, errors);
            if !(1..=MAX_TRACES_QUEUE).contains(&count) {
                errors.push(format!("{name} must be {rule}"));
            }
            count
        };
        let queue = count("OTEL_BSP_MAX_QUEUE_SIZE", TRACES_QUEUE);
        let batch = count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", TRACES_BATCH.min(queue.max(1)));
        Some(Self {
            endpoint,
            headers: headers(source, errors),
            timeout: millis(timeout, TRACES_TIMEOUT, errors),
            sampler: sampler(source, errors),
            resource: resource(source, errors),
            queue,
            batch,
            delay: millis("OTEL_BSP_SCHEDULE_DELAY", TRACES_DELAY, errors),
        })
    }
}

/// The setting of traces alone, or else that of all signals, with its name.
fn of_traces<'a>(source: &'a Source, what: &str) -> Option<(&'static str, &'a str)> {
    let names = match what {
        "HEADERS" => ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
        "TIMEOUT" => ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
        _ => ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
    };
    names.into_iter().find_map(|name| Some((name, source.get(name)?)))
}

/// The address of traces as it is, or the base address of all signals with the path of traces.
fn endpoint(source: &Source, errors: &mut Vec<String>) -> Option<Url> {
    let own = source.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let (name, address) = match (own, source.get("OTEL_EXPORTER_OTLP_ENDPOINT")) {
        (Some(own), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", own.to_owned()),
        (None, Some(base)) => {
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", base.trim_end_matches('/')))
        }
        (None, None) => return None,
    };
    match Url::parse(&address) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
        _ => {
            errors.push(format!("{name} must be an address that begins with http:// or https://"));
            None
        }
    }
}

fn headers(source: &Source, errors: &mut Vec<String>) -> HeaderMap {
    let Some((name, text)) = of_traces(source, "HEADERS") else { return HeaderMap::new() };
    let header = |(key, value): (String, String)| {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(key.as_bytes()).ok()?, value))
    };
    let headers = pairs(text).and_then(|pairs| pairs.into_iter().map(header).collect());
    headers.unwrap_or_else(|| {
        errors.push(format!("{name} must be headers as name=value,name=value"));
        HeaderMap::new()
    })
}

fn resource(source: &Source, errors: &mut Vec<String>) -> Vec<(String, String)> {
    let mut resource = vec![("service.name".to_owned(), "agentbus".to_owned())];
    match source.get("OTEL_RESOURCE_ATTRIBUTES").map(pairs) {
        Some(Some(given)) => resource.extend(given),
        Some(None) => {
            errors.push("OTEL_RESOURCE_ATTRIBUTES must be name=value,name=value".to_owned());
        }
        None => {}
    }
    let name = source.get("OTEL_SERVICE_NAME");
    resource.extend(name.map(|name| ("service.name".to_owned(), name.to_owned())));
    resource
}

/// Pairs `name=value,name=value`; values are percent-encoded. `None` if they are not.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

fn sampler(source: &Source, errors: &mut Vec<String>) -> Sampler {
    let mut ratio = || {
        let rule = "a number from 0 to 1";
        let ratio = source.parse("OTEL_TRACES_SAMPLER_ARG", 1.0, rule, errors);
        if !(0.0..=1.0).contains(&ratio) {
            errors.push(format!("OTEL_TRACES_SAMPLER_ARG must be {rule}"));
        }
        Sampler::TraceIdRatioBased(ratio)
    };
    let by_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
    match source.get("OTEL_TRACES_SAMPLER").unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio(),
        "parentbased_always_on" => by_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => by_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => by_parent(ratio()),
        _ => {
            errors.push(
                "OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of them after parentbased_"
                    .to_owned(),
            );
            Sampler::AlwaysOff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    fn read(more: &[(&str, &str)]) -> (Option<TraceConfig>, Vec<String>) {
        let mut errors = Vec::new();
        let config = TraceConfig::from_source(&Source::of(more), &mut errors);
        (config, errors)
    }

    #[test]
    fn traces_are_off_without_a_receiver_or_when_disabled() {
        for off in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            &[BASE, ("OTEL_SDK_DISABLED", "TRUE")],
            &[BASE, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            let (config, errors) = read(off);
            assert!(config.is_none() && errors.is_empty(), "{off:?}");
        }
    }

    #[test]
    fn the_settings_of_traces_win_over_those_of_all_signals() {
        let (config, errors) = read(&[BASE]);
        let config = config.expect("on");
        assert_eq!(
            (config.endpoint.as_str(), errors.len()),
            ("http://collector:4318/v1/traces", 0)
        );
        assert_eq!((config.queue, config.batch, config.timeout), (2_048, 512, TRACES_TIMEOUT));
        assert_eq!(format!("{:?}", config.sampler), "ParentBased(AlwaysOn)");
        let (config, errors) = read(&[
            BASE,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in?a=b"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-no=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20c2VjcmV0, x-b = 2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,region=eu%2Cwest"),
            ("OTEL_SERVICE_NAME", "bus"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ]);
        let config = config.expect("on");
        assert_eq!((config.endpoint.as_str(), errors.len()), ("https://traces.example/in?a=b", 0));
        assert_eq!(config.headers["authorization"], "Basic c2VjcmV0");
        assert_eq!(
            (config.headers.len(), &config.headers["x-b"]),
            (2, &HeaderValue::from_static("2"))
        );
        assert!(!format!("{config:?}").contains("c2VjcmV0"));
        assert_eq!((config.timeout.as_millis(), config.queue, config.batch), (250, 100, 100));
        let last = |name: &str| config.resource.iter().rfind(|(known, _)| known == name);
        assert_eq!(last("service.name").map(|(_, value)| value.as_str()), Some("bus"));
        assert_eq!(last("region").map(|(_, value)| value.as_str()), Some("eu,west"));
        assert_eq!(format!("{:?}", config.sampler), "ParentBased(TraceIdRatioBased(0.25))");
    }

    #[test]
    fn every_invalid_setting_is_named() {
        let (_, errors) = read(&[
            BASE,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "x"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ]);
        let names: Vec<&str> = errors.iter().filter_map(|error| error.split(' ').next()).collect();
        assert_eq!(names.len(), 7, "{errors:?}");
        for name in ["PROTOCOL", "EXPORTER", "HEADERS", "ATTRIBUTES", "SAMPLER", "TIMEOUT", "SIZE"]
        {
            assert!(names.iter().any(|known| known.ends_with(name)), "{name} in {names:?}");
        }
        let (config, errors) = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
        assert!(config.is_none() && errors.len() == 1, "{errors:?}");
    }
}
