import { readFileSync } from "node:fs";
import { join } from "node:path";

const README = join(import.meta.dirname, "../../README.md");

/** The blocks of code in one language, by the section that each is in. */
export function examples(language: string): { name: string; code: string }[] {
  const sections = readFileSync(README, "utf8").split(/^##? /m).slice(1);
  return sections.flatMap((section) => {
    const name = section.slice(0, section.indexOf("\n")).toLowerCase().replace(/\W+/g, "-");
    const blocks = section.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"));
    return Array.from(blocks, ([, code = ""], i) => ({ name: i === 0 ? name : `${name}-${i + 1}`, code }));
  });
}
