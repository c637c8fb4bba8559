//! The way of spans to a collector: OTLP over HTTP/1.1, in protobuf, by what the node speaks TLS with anyway.
//!
//! ```text
//!   span ends ─▶ Bounded ─▶ BatchSpanProcessor (a thread) ─▶ Told ─▶ OTLP ─▶ Way (this runtime) ─▶ collector
//!                  └ no room: lost, counted                  └ not taken: lost, counted, said once
//! ```
//!
//! **Invariants:** at most [`MAX_SPANS`] wait, and [`TAKE`] bounds each attempt; there is no second one, for what is new is
//! worth more than what is old. The obstacle that is told does not change until spans are taken again, so that a collector
//! that is away for a day is one line in the log.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::{TARGET, Taker};
use crate::admin::remote::{Remote, Way};
use crate::config::{NodeConfig, TelemetryConfig};

/// Spans that wait to be sent: some minutes of a node that is edited, and a megabyte or two.
const MAX_SPANS: usize = 2048;
/// Of these, what one request carries at most.
const BATCH: usize = 512;
/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take for a batch, connecting included.
const TAKE: Duration = Duration::from_secs(5);
/// How long the end of a node waits for the last spans.
pub const LAST_SPANS: Duration = Duration::from_secs(3);
/// What is read of a collector's answer: it has little to say.
const MAX_ANSWER: usize = 64 << 10;
/// What is told of an obstacle.
const MAX_WORDS: usize = 200;

/// The running export.
#[derive(Clone, Debug)]
pub struct Export {
    provider: SdkTracerProvider,
    account: Arc<Account>,
}

impl Export {
    /// Reads the authority and starts the thread; connects to nothing yet.
    pub fn start(config: &TelemetryConfig, node: &NodeConfig) -> anyhow::Result<Self> {
        let to = Remote::of_collector(&config.otlp, config.ca.as_deref()).context("telemetry.otlp")?;
        let account = Arc::new(Account { to: config.otlp.clone(), ..Account::default() });
        let client = Client { to: Arc::new(to), runtime: Handle::try_current()?, account: account.clone() };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", config.otlp))
            .with_timeout(TAKE)
            .build()
            .context("telemetry.otlp")?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_SPANS)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(GATHER)
            .build();
        let exporter = Told { exporter, account: account.clone() };
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(queue).build();
        let share = 1.0 / f64::from(config.sample.get());
        let mut attributes = vec![
            KeyValue::new("service.instance.id", node.name.to_string()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        if !node.pop.is_empty() {
            attributes.push(KeyValue::new("nigh.pop", node.pop.clone()));
        }
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { inner, account: account.clone() })
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(Resource::builder().with_service_name("nigh").with_attributes(attributes).build())
            .build();
        Ok(Self { provider, account })
    }

    /// What takes spans, and nothing else.
    pub fn taker(&self) -> Taker {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("nigh"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
            .boxed()
    }

    /// What stands between the spans and the collector.
    pub fn warning(&self) -> Option<String> {
        let obstacle = self.account.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        let to = &self.account.to;
        obstacle
            .as_ref()
            .map(|why| format!("traces do not reach the collector at {to}: {why}; nothing else depends on it"))
    }

    /// Sends what waits.
    pub async fn stop(self) {
        let provider = self.provider.clone();
        // It blocks, for the batch's thread.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS)).await;
        if !matches!(ended, Ok(Ok(()))) {
            let waiting = self.account.waiting.load(Ordering::Relaxed);
            self.account.lost.fetch_add(waiting as u64, Ordering::Relaxed);
        }
        let lost = self.account.lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::info!(lost, "spans that no collector took");
        }
    }
}

/// Has a span go on with the trace of a request, if that names one.
pub fn adopt(span: &tracing::Span, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // It fails where nobody takes spans.
    let _ = span.set_parent(parent);
}

/// What became of the spans.
#[derive(Debug, Default)]
struct Account {
    to: String,
    waiting: AtomicUsize,
    lost: AtomicU64,
    obstacle: Mutex<Option<String>>,
    /// Why there was no answer to the last request: the exporter only says that there was none.
    unanswered: Mutex<Option<String>>,
}

impl Account {
    /// Takes in what came of a batch.
    fn note(&self, spans: usize, outcome: &OTelSdkResult) {
        let mut obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                if obstacle.take().is_some() {
                    let lost = self.lost.load(Ordering::Relaxed);
                    tracing::info!(to = %self.to, lost, "traces reach the collector again");
                }
            }
            Err(error) => {
                self.lost.fetch_add(spans as u64, Ordering::Relaxed);
                let unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).take();
                let why = unanswered.unwrap_or_else(|| error.to_string());
                obstacle.get_or_insert_with(|| why.chars().take(MAX_WORDS).collect());
            }
        }
    }
}

/// Refuses spans beyond the bound, and counts them; the processor behind it would drop them without a word.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    account: Arc<Account>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.account.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_SPANS {
            self.account.waiting.fetch_sub(1, Ordering::Relaxed);
            self.account.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// An exporter that tells what became of each batch.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    account: Arc<Account>,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let spans = batch.len();
        self.account.waiting.fetch_sub(spans, Ordering::Relaxed);
        async move {
            let outcome = self.exporter.export(batch).await;
            self.account.note(spans, &outcome);
            outcome
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// One request per connection: a batch a second at most is sent, and often none for minutes.
#[derive(Debug)]
struct Client {
    to: Arc<Remote>,
    runtime: Handle,
    account: Arc<Account>,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let to = self.to.clone();
        // The thread that asks for this has no sockets of its own.
        let sent = self.runtime.spawn(async move { tokio::time::timeout(TAKE, send(&to, request)).await });
        let late = |_| Err(format!("no answer within {} s", TAKE.as_secs()).into());
        let answer = sent.await.map_err(HttpError::from).and_then(|sent| sent.unwrap_or_else(late));
        if let Err(error) = &answer {
            let mut unanswered = self.account.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            *unanswered = Some(error.to_string());
        }
        answer
    }
}

async fn send(to: &Remote, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    // To a server itself goes the path alone, and who is meant in a field (RFC 9112, section 3.2.1).
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = Uri::try_from(path)?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(&to.authority)?);
    match to.connect().await? {
        Way::Plain(stream) => exchange(stream, request).await,
        Way::Tls(stream) => exchange(stream, request).await,
    }
}

async fn exchange<S>(stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection is driven beside the exchange, which fails by itself when the connection does.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        done = exchange => done,
        never = driven => never,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[test]
    fn what_is_told_of_an_obstacle_stays_until_spans_are_taken_again() {
        let account = Account::default();
        let told = || account.obstacle.lock().unwrap().clone();
        account.note(3, &Ok(()));
        assert_eq!(told(), None);
        account.note(3, &Err(OTelSdkError::InternalFailure("refused ".repeat(100))));
        let first = told().unwrap();
        assert!(first.contains("refused") && first.chars().count() == MAX_WORDS, "{first}");
        account.note(4, &Err(OTelSdkError::InternalFailure("too slow".into())));
        assert_eq!((told(), account.lost.load(Ordering::Relaxed)), (Some(first), 7));
        account.note(1, &Ok(()));
        assert_eq!((told(), account.lost.load(Ordering::Relaxed)), (None, 7));
    }

    #[derive(Debug)]
    struct Stuck(Arc<Mutex<()>>);

    impl SpanExporter for Stuck {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            drop(self.0.lock());
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted_and_nobody_waits() {
        use opentelemetry::trace::{Span as _, Tracer as _};
        let account = Arc::new(Account::default());
        let key = Arc::new(Mutex::new(()));
        let held = key.lock().unwrap();
        let exporter = Told { exporter: Stuck(key.clone()), account: account.clone() };
        let queue = BatchConfigBuilder::default().with_max_queue_size(MAX_SPANS).with_max_export_batch_size(BATCH);
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(queue.build()).build();
        let processor = Bounded { inner, account: account.clone() };
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let tracer = provider.tracer("test");
        // Those of one batch at most are with the exporter; all others are in the queue, or lost.
        let made = 2 * MAX_SPANS;
        (0..made).for_each(|_| tracer.start("span").end());
        let (lost, waiting) = (account.lost.load(Ordering::Relaxed) as usize, account.waiting.load(Ordering::Relaxed));
        assert!(waiting <= MAX_SPANS && lost >= made - MAX_SPANS - BATCH && lost < made, "{lost} lost, {waiting} wait");
        drop(held);
        provider.shutdown().unwrap();
        assert_eq!(account.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(account.lost.load(Ordering::Relaxed) as usize, lost);
    }
}
