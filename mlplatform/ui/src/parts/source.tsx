/** Python with a little colour: enough to read it, a hundredth of a library. */

import { Copy } from "./basics";

const TOKEN =
  /(#[^\n]*)|("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\b(False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)\b|\b(\d[\d_.eExXa-fA-F]*)\b/g;
const NAMES = ["c", "s", "k", "n"];

export function Source({ text, copy = true }: { text: string; copy?: boolean }) {
  const parts = [];
  let from = 0;
  if (text.length < 60_000) {
    for (const match of text.matchAll(TOKEN)) {
      const at = match.slice(1).findIndex((group) => group !== undefined);
      if (match.index > from) parts.push(text.slice(from, match.index));
      parts.push(<span class={NAMES[at]} key={match.index}>{match[0]}</span>);
      from = match.index + match[0].length;
    }
  }
  parts.push(text.slice(from));
  return (
    <div class="source">
      {copy && <Copy text={text} label="Copy the code" />}
      <pre class="code" tabIndex={0}>{parts}</pre>
    </div>
  );
}
