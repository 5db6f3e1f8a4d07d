/// <reference lib="esnext.disposable" preserve="true" />

export * from "./client.js";
export type { ContentType, StandardSchema } from "./content.js";
export type { Start } from "./cursor.js";
export * from "./errors.js";
export { Inbox, type InboxOptions, type InboxPage, type InboxPageQuery, type InboxQuery } from "./inbox.js";
export type { LeaseRequest, Leases } from "./leases.js";
export type { Contents, Message, MessageTypes, Outgoing, OutgoingItem, TypeOf } from "./message.js";
export type { Consumers } from "./resources/consumers.js";
export type { DeadLetterQuery, DeadLetters } from "./resources/dead_letters.js";
export type { Keys } from "./resources/keys.js";
export type { Queues } from "./resources/queues.js";
export type { Schemas } from "./resources/schemas.js";
export type { Webhooks } from "./resources/webhooks.js";
export type { Logger, Settings } from "./settings.js";
export { Gap, MessageStream, type StreamOptions } from "./stream.js";
export type { CallOptions } from "./transport.js";
export type * from "./types.js";
export { VERSION } from "./version.js";
export { type JobContext, type JobEnd, type JobHandler, Worker, type WorkerOptions } from "./worker.js";
