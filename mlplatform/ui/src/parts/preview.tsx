export function Preview({ uri, tall }: { uri: string; tall?: boolean }) {
  return <p>{uri} {String(tall)}</p>;
}
