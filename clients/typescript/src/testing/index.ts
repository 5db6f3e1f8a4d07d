/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

// A real server for tests, on a free port, with a folder of its own. Node.js only.

export { findBinary } from "./binary.js";
export { type ServerOptions, startServer, TestServer } from "./server.js";
