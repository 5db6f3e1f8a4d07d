//! The configuration that `docs/operations.md` shows.

/// A password for `CHANGE-ME`.
pub const PASSWORD: &str = "s3cret";

/// The blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let page = include_str!("../../../docs/operations.md");
    let fence = format!("```{language}\n");
    let found = page.split(&fence).skip(1).map(|rest| {
        let block = rest.split("```").next().expect("the end of a block");
        block.replace("CHANGE-ME", PASSWORD)
    });
    found.collect()
}

/// The `authorization` of nats-server.
pub fn authorization() -> String {
    let mut blocks = blocks("nats");
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    blocks.remove(0)
}

/// The statements for the role of servers, and for that of workers.
pub fn roles() -> [String; 2] {
    blocks("sql").try_into().expect("two blocks")
}

/// What a user may do.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

impl Allowed {
    /// The permissions of a user of the document.
    pub fn of(user: &str) -> Self {
        let page = authorization();
        let named = |text: &&str| text.split(',').next() == Some(user);
        let text = page.split("user: ").find(named).expect("a user");
        let (publish, subscribe) = text.split_once("subscribe:").expect("both lists");
        let quoted = |text: &str| {
            let line =
                |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned());
            text.lines().filter_map(line).collect()
        };
        Self { publish: quoted(publish), subscribe: quoted(subscribe) }
    }

    /// The user as nats-server's configuration has it, after the password or the key that it begins with.
    pub fn user(&self, begin: &str) -> String {
        let list = |subjects: &[String]| {
            let quoted = subjects.iter().map(|subject| format!("{subject:?}"));
            quoted.collect::<Vec<_>>().join(", ")
        };
        let (publish, subscribe) = (list(&self.publish), list(&self.subscribe));
        format!("{{ {begin}, permissions: {{ publish: [{publish}], subscribe: [{subscribe}] }} }}")
    }
}
