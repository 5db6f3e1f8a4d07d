//! The calls of the table, made by the client.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentbus_client::{
    AckLevel, Bounds, Client, Document, Enqueued, Error, Event, InboxOptions, Job, JobError,
    KeyChange, Kind, LeaseAction, LeaseOptions, NewJob, NewKey, NewMessage, NewSchema, NewWebhook,
    Outcome, Pages, Problem, Query, QueueConfig, SendOptions, Sent, Start, TaskState,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

const FILTERS: [&str; 8] =
    ["subject", "kind", "type", "sender", "recipient", "task", "conversation", "in_reply_to"];

/// Makes one call.
pub async fn call(bus: &Client, name: &str, args: &Value) -> Result<Value, Error> {
    if let Some(called) = of_messages(bus, name, args).await {
        return called;
    }
    if let Some(called) = of_queues(bus, name, args).await {
        return called;
    }
    if let Some(called) = of_state(bus, name, args).await {
        return called;
    }
    of_keys(bus, name, args).await.unwrap_or_else(|| panic!("there is no call {name}"))
}

async fn of_messages(bus: &Client, name: &str, args: &Value) -> Option<Result<Value, Error>> {
    Some(match name {
        "send" => {
            let idempotency_key = text(args, "idempotency_key");
            let options = SendOptions { ack: ack(args), idempotency_key };
            bus.send_with(&message(args), &options).await.map(sent)
        }
        "send_many" => {
            let messages: Vec<_> = array(args, "messages").iter().map(message).collect();
            let outcomes = bus.send_many(&messages, ack(args)).await;
            outcomes.map(|all| all.into_iter().map(|one| outcome(one, sent)).collect())
        }
        "get_message" => document(bus.message(uuid(args, "id")).await),
        "erase" => bus.erase(uuid(args, "id"), &name_of(args, "reason")).await.map(Value::from),
        "history" => history(bus, args).await,
        "stream" => stream(bus, args).await,
        "inbox" => inbox(bus, args).await,
        "inbox_page" => {
            let options = InboxOptions {
                after: args["after"].as_u64(),
                limit: args["limit"].as_u64().map(|n| usize::try_from(n).expect("small")),
                wait: Duration::from_secs(args["wait"].as_u64().unwrap_or(0)),
                broadcast: args["broadcast"] == true,
            };
            let page = bus.inbox_page(&name_of(args, "agent"), &options).await;
            page.map(|page| {
                json!({"messages": page.messages.iter().map(value).collect::<Vec<_>>(), "next": page.next,
                    "committed_through": page.committed_through})
            })
        }
        "inbox_ack" => {
            let acked = bus.ack_inbox(&name_of(args, "agent"), number(args, "through")).await;
            acked.map(|at| json!({"consumed_through": at.consumed_through, "waiting": at.waiting}))
        }
        "ask" => {
            let within = Duration::from_secs(number(args, "reply_within"));
            document(bus.ask(&message(args), within).await)
        }
        "answer" => {
            let asked = serde_json::from_value(args["message"].clone()).expect("a message");
            let answer = NewMessage::message("answer").from(&name_of(args, "sender_id"));
            bus.answer(&asked, answer.content(name_of(args, "content"))).await.map(sent)
        }
        _ => return None,
    })
}

async fn of_queues(bus: &Client, name: &str, args: &Value) -> Option<Result<Value, Error>> {
    let queue = text(args, "queue").unwrap_or_default();
    Some(match name {
        "set_queue" => {
            let config = QueueConfig {
                lease_s: args["lease_s"].as_f64(),
                max_deliver: args["max_deliver"].as_u64().map(|n| u32::try_from(n).expect("small")),
                backoff_s: array(args, "backoff_s").iter().filter_map(Value::as_f64).collect(),
            };
            nothing(bus.set_queue(&queue, &config).await)
        }
        "queues" => all(bus.queues()).await,
        "queue" => document(bus.queue(&queue).await),
        "delete_queue" => nothing(bus.delete_queue(&queue, args["force"] == true).await),
        "enqueue" => bus.enqueue(&queue, &job(args)).await.map(|made| value(&made)),
        "enqueue_many" => {
            let jobs: Vec<_> = array(args, "jobs").iter().map(job).collect();
            let outcomes = bus.enqueue_many(&queue, &jobs).await;
            let made = |made: Enqueued| json!({"job_id": made.job_id, "seq": made.seq});
            outcomes.map(|all| all.into_iter().map(|one| outcome(one, made)).collect())
        }
        "lease" => {
            let wait = Duration::from_secs(args["wait_s"].as_u64().unwrap_or(0));
            let (max, worker) = (args["max"].as_u64().unwrap_or(1), text(args, "worker"));
            let leased = bus.lease(&queue, max, wait, worker.as_deref()).await;
            leased.map(|jobs| jobs.iter().map(value).collect())
        }
        "settle" => {
            let action = match args["action"].as_str() {
                Some("ack") => LeaseAction::Ack,
                Some("nack") => LeaseAction::Nack,
                Some("fail") => LeaseAction::Fail,
                Some("extend") => LeaseAction::Extend,
                other => panic!("there is no action {other:?}"),
            };
            let (reason, delay_s) = (text(args, "reason"), args["delay_s"].as_f64());
            let options = LeaseOptions { reason, delay_s, lease_s: None };
            document(bus.settle(&name_of(args, "token"), action, &options).await)
        }
        "work" => work(bus, args).await,
        "dead_letters" => all(bus.dead_letters(source(args), None)).await,
        "dead_letter" => document(bus.dead_letter(uuid(args, "id")).await),
        "redrive" => {
            bus.redrive(uuid(args, "id")).await.map(|done| json!({"redriven": done.redriven}))
        }
        "redrive_all" => {
            bus.redrive_all(source(args)).await.map(|done| json!({"redriven": done.redriven}))
        }
        "discard" => nothing(bus.discard(uuid(args, "id")).await),
        _ => return None,
    })
}

async fn of_state(bus: &Client, name: &str, args: &Value) -> Option<Result<Value, Error>> {
    let (id, consumer) =
        (text(args, "id").unwrap_or_default(), text(args, "name").unwrap_or_default());
    Some(match name {
        "agents" => all(bus.agents()).await,
        "agent" => document(bus.agent(&id).await),
        "tasks" => {
            let state = match args["state"].as_str() {
                Some("open") => Some(TaskState::Open),
                Some("done") => Some(TaskState::Done),
                _ => None,
            };
            all(bus.tasks(state)).await
        }
        "task" => document(bus.task(&id).await),
        "consumers" => bus.consumers().await.map(|all| all.iter().map(value).collect()),
        "pause_consumer" => document(bus.pause_consumer(&consumer, args["reason"].as_str()).await),
        "resume_consumer" => document(bus.resume_consumer(&consumer).await),
        "reset_consumer" => document(bus.reset_consumer(&consumer, number(args, "from")).await),
        "webhooks" => bus.webhooks().await.map(|all| all.iter().map(value).collect()),
        "webhook" => document(bus.webhook(&id).await),
        "create_webhook" => {
            let url = name_of(args, "url");
            let (filter, secret) = (text(args, "filter"), text(args, "secret"));
            document(bus.create_webhook(&NewWebhook { url, filter, secret }).await)
        }
        "set_webhook_state" => document(bus.set_webhook_state(&id, &name_of(args, "state")).await),
        "delete_webhook" => nothing(bus.delete_webhook(&id).await),
        "schemas" => bus.schemas().await.map(|all| all.iter().map(value).collect()),
        "schema" => document(bus.schema(&kind(args), &name_of(args, "type")).await),
        "schema_versions" => {
            let versions = bus.schema_versions(&kind(args), &name_of(args, "type")).await;
            versions.map(|all| all.iter().map(value).collect())
        }
        "put_schema" => {
            let put = bus.put_schema(&kind(args), &name_of(args, "type"), &schema(args)).await;
            document(put)
        }
        "check_schema" => {
            let tried = bus.check_schema(&kind(args), &name_of(args, "type"), &schema(args)).await;
            tried.map(Value::from)
        }
        "delete_schema" => nothing(bus.delete_schema(&kind(args), &name_of(args, "type")).await),
        "status" => document(bus.status().await),
        "stats" => document(bus.stats(args["task"].as_str()).await),
        _ => return None,
    })
}

async fn of_keys(bus: &Client, name: &str, args: &Value) -> Option<Result<Value, Error>> {
    let id = text(args, "id").unwrap_or_default();
    let part = |member: &str| args.get(member).cloned();
    Some(match name {
        "keys" => bus.keys().await.map(|all| all.iter().map(value).collect()),
        "key" => document(bus.key(&id).await),
        "create_key" => {
            let new = NewKey {
                name: name_of(args, "name"),
                grants: typed(args["grants"].clone()),
                kind: text(args, "kind"),
                limits: part("limits").map(typed).unwrap_or_default(),
                expires_at: text(args, "expires_at"),
            };
            document(bus.create_key(&new).await)
        }
        "update_key" => {
            let change = KeyChange {
                name: text(args, "name"),
                grants: part("grants").map(typed),
                limits: part("limits").map(typed),
                expires_at: part("expires_at").map(typed),
            };
            document(bus.update_key(&id, &change).await)
        }
        "rotate_key" => document(bus.rotate_key(&id, number(args, "overlap_s")).await),
        "revoke_key" => nothing(bus.revoke_key(&id).await),
        "audit" => all(bus.audit(args["after"].as_u64(), args["take"].as_u64())).await,
        "create_ticket" => {
            let ticket = bus.create_ticket(filter(args), args["ttl_s"].as_u64()).await;
            ticket.map(|made| json!({"ticket": made.ticket, "expires_at": made.expires_at}))
        }
        "me" => document(bus.me().await),
        _ => return None,
    })
}

async fn history(bus: &Client, args: &Value) -> Result<Value, Error> {
    let mut query = filter(args);
    for name in ["since", "until", "contains"] {
        query.extend(text(args, name).map(|value| (name, value)));
    }
    if let [one, other] = array(args, "between") {
        let name = |value: &Value| value.as_str().expect("a name").to_owned();
        query.push(("between", format!("{},{}", name(one), name(other))));
    }
    let bounds = Bounds {
        after: args["after"].as_u64(),
        before: args["before"].as_u64(),
        descending: args["order"] == "desc",
        limit: args["take"].as_u64(),
    };
    let mut pages = bus.history(query, bounds);
    if let Some(size) = args["page_size"].as_u64() {
        pages = pages.page_size(usize::try_from(size).expect("small"));
    }
    let mut found = Vec::new();
    while let Some(message) = pages.next().await? {
        found.push(value(&message));
    }
    Ok(found.into())
}

async fn stream(bus: &Client, args: &Value) -> Result<Value, Error> {
    let start = match (&args["from"], args["after"].as_u64()) {
        (_, Some(seq)) => Start::After(seq),
        (Value::Number(seq), None) => Start::At(seq.as_u64().expect("a sequence")),
        (from, None) => from.as_str().unwrap_or("now").parse().expect("a start"),
    };
    let mut stream = bus.stream(filter(args), start);
    let mut items = Vec::new();
    while (items.len() as u64) < number(args, "take") {
        match stream.next().await? {
            Event::Message(message) => items.push(value(&message)),
            Event::Gap(gap) => {
                items.push(json!({"gap": {"from": gap.from, "to": gap.to, "reason": gap.reason}}));
            }
            Event::CaughtUp => {}
        }
    }
    Ok(items.into())
}

async fn inbox(bus: &Client, args: &Value) -> Result<Value, Error> {
    let acks = args["ack"] != false;
    let mut inbox = bus.inbox(&name_of(args, "agent"));
    if args["broadcast"] == true {
        inbox = inbox.broadcast();
    }
    if !acks {
        inbox = inbox.manual_acks();
    }
    let mut messages = Vec::new();
    while (messages.len() as u64) < number(args, "take") {
        messages.push(value(&inbox.next().await?));
    }
    if acks {
        inbox.ack().await?;
    }
    Ok(messages.into())
}

async fn work(bus: &Client, args: &Value) -> Result<Value, Error> {
    let (runs, until) = (Arc::new(Mutex::new(Vec::new())), number(args, "until"));
    let (ended, all_ended) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let handler = {
        let (runs, all_ended) = (runs.clone(), all_ended.clone());
        move |job: Job| {
            let (runs, ended, all_ended) = (runs.clone(), ended.clone(), all_ended.clone());
            async move {
                let result = handle(&job).await;
                let payload: Value = job.payload_as()?;
                runs.lock()
                    .push(json!({"job_id": job.job_id, "type": job.type_, "attempt": job.attempt,
                    "payload": payload}));
                if ended.fetch_add(1, Ordering::SeqCst) + 1 == until {
                    all_ended.notify_one();
                }
                result
            }
        }
    };
    let concurrency = usize::try_from(args["concurrency"].as_u64().unwrap_or(1)).expect("small");
    let worker = bus.worker(&name_of(args, "queue")).concurrency(concurrency);
    worker.run(handler, wait_for(&all_ended)).await?;
    let runs = runs.lock().clone();
    Ok(runs.into())
}

fn wait_for(all_ended: &Notify) -> impl Future<Output = ()> {
    all_ended.notified()
}

async fn handle(job: &Job) -> Result<(), JobError> {
    match job.type_.as_str() {
        "ok" => Ok(()),
        "once" if job.attempt == 1 => Err(JobError::retry("not yet")),
        "once" => Ok(()),
        "bad" => Err(JobError::permanent("no good")),
        "slow" => {
            let seconds = job.payload_as::<Value>()?["seconds"].as_f64().expect("seconds");
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        }
        other => panic!("there is no handler for {other}"),
    }
}

fn message(args: &Value) -> NewMessage {
    let type_ = name_of(args, "type");
    let mut new = NewMessage::message(&type_);
    new.kind = match args["kind"].as_str() {
        Some("status") => Kind::Status,
        Some("task") => Kind::Task,
        _ => Kind::Message,
    };
    new.id = text(args, "id").map(|id| id.parse().expect("a UUID"));
    new.sender_id = text(args, "sender_id");
    new.sender_role = text(args, "sender_role");
    new.recipient_id = text(args, "recipient_id");
    new.task_id = text(args, "task_id");
    new.conversation_id = text(args, "conversation_id");
    new.in_reply_to = text(args, "in_reply_to");
    new.expires_at = text(args, "expires_at");
    new.content = text(args, "content").unwrap_or_default();
    new.metadata = args["metadata"].as_object().cloned().unwrap_or_default();
    new
}

fn job(args: &Value) -> NewJob {
    let mut new = NewJob::new(&name_of(args, "type"), args["payload"].clone());
    new.id = text(args, "id").map_or(new.id, |id| id.parse().expect("a UUID"));
    new.priority = text(args, "priority");
    new.delay_s = args["delay_s"].as_f64();
    new
}

fn kind(args: &Value) -> String {
    name_of(args, "kind")
}

fn schema(args: &Value) -> NewSchema {
    let schema = serde_json::value::to_raw_value(&args["schema"]).expect("JSON");
    NewSchema { schema, content: text(args, "content"), mode: text(args, "mode") }
}

fn filter(args: &Value) -> Query {
    let mut query = Query::new();
    for name in FILTERS {
        let values = match &args[name] {
            Value::Array(values) => values.as_slice(),
            Value::Null => &[],
            one => std::slice::from_ref(one),
        };
        let text = |value: &Value| (name, value.as_str().expect("a string").to_owned());
        query.extend(values.iter().map(text));
    }
    query.extend(args["broadcast"].as_bool().map(|yes| ("broadcast", yes.to_string())));
    query
}

fn source(args: &Value) -> Query {
    ["source", "kind"].into_iter().filter_map(|name| Some((name, text(args, name)?))).collect()
}

async fn all<T>(mut pages: Pages<T>) -> Result<Value, Error> {
    Ok(pages.all().await?.iter().map(value).collect())
}

fn outcome<T>(outcome: Outcome<T>, of: impl Fn(T) -> Value) -> Value {
    match outcome {
        Outcome::Accepted(accepted) => of(accepted),
        Outcome::Rejected(problem) => {
            let Problem { status, code, errors, .. } = *problem;
            let errors: Vec<_> =
                errors.iter().map(|fault| json!({"pointer": fault.pointer})).collect();
            json!({"error": {"status": status, "code": code, "errors": errors}})
        }
    }
}

fn sent(sent: Sent) -> Value {
    json!({"seq": sent.seq, "id": sent.id, "subject": sent.subject, "created_at": sent.created_at,
        "duplicate": sent.duplicate, "durability": sent.durability,
        "warnings": sent.warnings.iter().map(|warning| json!({"code": warning.code})).collect::<Vec<_>>()})
}

fn document<T>(result: Result<Document<T>, Error>) -> Result<Value, Error> {
    result.map(|document| value(&document))
}

fn value<T>(document: &Document<T>) -> Value {
    serde_json::from_slice(document.json()).expect("JSON")
}

fn nothing(result: Result<(), Error>) -> Result<Value, Error> {
    result.map(|()| Value::Null)
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an argument of this form")
}

fn ack(args: &Value) -> AckLevel {
    if args["ack"] == "committed" { AckLevel::Committed } else { AckLevel::Stored }
}

fn array<'a>(args: &'a Value, name: &str) -> &'a [Value] {
    args[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(args: &Value, name: &str) -> Option<String> {
    args[name].as_str().map(str::to_owned)
}

fn name_of(args: &Value, name: &str) -> String {
    text(args, name).unwrap_or_else(|| panic!("{name} is missing in {args}"))
}

fn number(args: &Value, name: &str) -> u64 {
    args[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {args}"))
}

fn uuid(args: &Value, name: &str) -> Uuid {
    name_of(args, name).parse().expect("a UUID")
}
