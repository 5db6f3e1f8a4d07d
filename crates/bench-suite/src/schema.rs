//! The check of a message with a schema of ten members: what an enforced schema adds to each publish.

use std::time::{Duration, Instant};

use agentbus::schemas::{ContentForm, Schema};

use super::error::SuiteError;
use super::row::Row;

/// Messages that are checked between two looks at the clock.
const ROUND: u32 = 1_000;

const SCHEMA: &str = r#"{"properties":{"content":{"minLength":1,"maxLength":4096},"metadata":{
    "type":"object","additionalProperties":false,"required":["run","at","n","state"],"properties":{
    "run":{"type":"string","maxLength":64},"at":{"type":"integer","minimum":0},"n":{"type":"integer","minimum":1},
    "state":{"enum":["open","started","done","failed"]},"priority":{"enum":["high","normal","low"]},
    "owner":{"type":"string","pattern":"^[a-z0-9-]+$"},"tags":{"type":"array","items":{"type":"string"},"maxItems":8},
    "score":{"type":"number","minimum":0,"maximum":1},"done":{"type":"boolean"},"note":{"type":"string"}}}}}"#;
const METADATA: &str = r#"{"run":"r-0192f0c4","at":1796062800000000,"n":7,"state":"started","priority":"normal","owner":"coder-1","tags":["parser","urgent"],"score":0.75,"done":false,"note":"half of it is there"}"#;

/// Checks messages for so long.
pub(super) fn measure(duration: Duration) -> Result<Row, SuiteError> {
    let broken = || SuiteError::Failed("the schema or its message is wrong".to_owned());
    let schema = Schema::compile(SCHEMA, ContentForm::Text).map_err(|_| broken())?;
    let content = "x".repeat(128);
    let (begun, mut checked) = (Instant::now(), 0_u64);
    while begun.elapsed() < duration {
        for _ in 0..ROUND {
            let message = schema.prepare(&content, METADATA).map_err(|_| broken())?;
            schema.check(&message).map_err(|_| broken())?;
        }
        checked += u64::from(ROUND);
    }
    let nanos = begun.elapsed().as_nanos() as f64 / checked as f64;
    let rate = 1e9 / nanos;
    Ok(Row::bare("check with a schema of ten members", "messages/s", rate)
        .note(format!("{nanos:.0} ns each, on one core")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_matches() {
        let row = measure(Duration::from_millis(200));
        println!("{:?}", row.expect("it matches"));
    }
}
