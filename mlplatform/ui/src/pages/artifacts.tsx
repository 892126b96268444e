export default function P({path}:{path:string[]}) { return <p>{path.join("/")}</p>; }
