import { defineConfig } from "vite";

// Relative addresses throughout: the pages work behind any path prefix. Nothing is inlined: the server's content
// security policy allows neither inline scripts nor data addresses of scripts.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "static",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": process.env.MLPLATFORM_SERVER ?? "http://127.0.0.1:8787" } },
});
