//! Puts jobs into a queue and works on them until all have ended: `cargo run --example worker`.

use std::sync::Arc;

use agentbus_client::{Client, Job, JobError, NewJob};
use serde::Deserialize;
use tokio::sync::Semaphore;

#[derive(Deserialize)]
struct Resize {
    file: String,
}

async fn resize(job: &Job) -> Result<(), JobError> {
    let Resize { file } =
        job.payload_as().map_err(|error| JobError::permanent(error.to_string()))?;
    if file == "3.png" && job.attempt == 1 {
        // Every error is tried again, here after a second.
        return Err(std::io::Error::other("the disk is busy").into());
    }
    println!("resized {file}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Client::from_env()?;
    for n in 0..10 {
        let payload = serde_json::json!({ "file": format!("{n}.png") });
        bus.enqueue("thumbnails", &NewJob::new("resize", payload)).await?;
    }
    // A payload of another form fails for good: it is a dead letter.
    bus.enqueue("thumbnails", &NewJob::new("resize", 7.into())).await?;

    // Each run of a handler adds a permit: 11 jobs and one second attempt.
    let runs = Arc::new(Semaphore::new(0));
    let handler = {
        let runs = runs.clone();
        move |job: Job| {
            let runs = runs.clone();
            async move {
                let result = resize(&job).await;
                runs.add_permits(1);
                result
            }
        }
    };
    let stop = async {
        let _ = runs.acquire_many(12).await;
    };
    let report = bus.worker("thumbnails").concurrency(4).run(handler, stop).await?;
    println!("{} done, {} tried again, {} failed", report.done, report.retried, report.failed);
    Ok(())
}
