// A TCP proxy that does what networks and proxies do wrong.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * What happens to traffic: `pass`; `freeze`: connections stay open and nothing passes any more; `502`, `503`: the answer to
 * each new request; `swallow`: requests reach the server, and the connection is cut instead of their answers.
 */
export type Mode = "pass" | "freeze" | "502" | "503" | "swallow";

const ANSWERS: Record<string, string> = {
  502: "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 15\r\nconnection: close\r\n\r\n<h1>Oh no.</h1>",
  503: "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
};

export class FaultyProxy implements AsyncDisposable {
  mode: Mode = "pass";
  /** The connections that were made, and those of them that are open. */
  accepted = 0;
  /** The bytes that the server sent on passing connections. */
  received = 0;
  readonly #sockets = new Set<Socket>();
  readonly #listener: Server;
  readonly #port: number;

  private constructor(listener: Server, target: string) {
    this.#listener = listener;
    this.#port = Number(new URL(target).port);
    listener.on("connection", (client) => this.#accept(client));
  }

  /** A proxy before this server. */
  static async before(target: string): Promise<FaultyProxy> {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    return new FaultyProxy(listener, target);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.address() as AddressInfo).port}`;
  }

  /** Cuts all connections, as a crash of the proxy would. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    this.cut();
    await closed;
  }

  #accept(client: Socket): void {
    this.accepted += 1;
    const server = connect(this.#port, "127.0.0.1");
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (bytes) => this.#request(client, server, bytes));
    server.on("data", (bytes) => this.#response(client, server, bytes));
  }

  #request(client: Socket, server: Socket, bytes: Buffer): void {
    const answer = ANSWERS[this.mode];
    if (answer !== undefined) client.end(answer);
    else if (this.mode !== "freeze") server.write(bytes);
  }

  #response(client: Socket, server: Socket, bytes: Buffer): void {
    if (this.mode === "swallow") {
      client.resetAndDestroy();
    } else if (this.mode === "pass") {
      this.received += bytes.length;
      // Backpressure goes through to the server.
      if (client.write(bytes)) return;
      server.pause();
      client.once("drain", () => server.resume());
    }
  }
}
