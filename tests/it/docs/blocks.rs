//! The blocks of a page.

/// A fenced block.
pub struct Block {
    /// The heading that it stands under.
    pub heading: String,
    /// The line of its first fence, counted from 1.
    pub line: usize,
    pub language: String,
    pub text: String,
}

impl Block {
    /// Whether it is the response to the command before.
    pub fn is_answer(&self) -> bool {
        ["json", "http", "sse"].contains(&self.language.as_str())
    }
}

/// All blocks of a page, in order. Fails the test if one is made by indentation: it would have no language.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut heading = String::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        let (number, fence) = (index + 1, line.strip_prefix("```"));
        match (&mut open, fence) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, Some(language)) => {
                let (heading, language) = (heading.clone(), language.to_owned());
                open = Some(Block { heading, line: number, language, text: String::new() });
            }
            (None, None) => {
                assert!(
                    !line.starts_with("    "),
                    "line {number}: a block without a fence: {line}"
                );
                if line.starts_with('#') {
                    line.trim_start_matches('#').trim().clone_into(&mut heading);
                }
            }
        }
    }
    assert!(open.is_none(), "the last block has no end");
    found
}
