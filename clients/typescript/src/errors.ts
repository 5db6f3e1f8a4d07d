// What this client throws. An aborted `signal` throws its own reason instead, as everywhere on the platform.

import type { Fault } from "./types.js";

/** Everything that this client throws by itself. */
export class AgentbusError extends Error {
  override name: string = "AgentbusError";
}

/** The server was not reached, or its answer was lost or is no answer of agentbus. */
export class ConnectionError extends AgentbusError {
  override name: string = "ConnectionError";
}

/** A content or payload that its content type refuses. */
export class ContentError extends AgentbusError {
  /** The message or job as it came, with the content as text; undefined when it was to be sent. */
  readonly received: unknown;

  override name: string = "ContentError";

  constructor(text: string, options: { cause?: unknown; received?: unknown } = {}) {
    super(text, { cause: options.cause });
    this.received = options.received;
  }
}

/** Thrown by the handler of a worker: the job fails for good and becomes a dead letter now. */
export class PermanentFailure extends AgentbusError {
  override name: string = "PermanentFailure";
}

/** Thrown by the handler of a worker: the job is tried again, after `delay_s` seconds or the queue's backoff. */
export class RetryLater extends AgentbusError {
  override name: string = "RetryLater";
  readonly delay_s: number | undefined;

  constructor(reason: string, { delay_s }: { delay_s?: number } = {}) {
    super(reason);
    this.delay_s = delay_s;
  }
}

/** A problem document (RFC 9457), with the members that agentbus adds. */
export interface Problem {
  status: number;
  code: string;
  detail: string;
  errors?: Fault[];
  request_id?: string;
  [member: string]: unknown;
}

/** The server refused the request. Decide by the class or by `code`; `detail` is for people. */
export class ApiError extends AgentbusError {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  /** Every fault of the body or the query. */
  readonly errors: readonly Fault[];
  /** Names this request in the server's log. */
  readonly request_id: string | undefined;
  /** Seconds after which the server wants to be asked again. */
  readonly retry_after: number | undefined;
  /** The whole document. */
  readonly problem: Problem;

  override name: string = "ApiError";

  constructor(problem: Problem, retryAfter?: number) {
    const faults = (problem.errors ?? []).map(
      (fault) => `${fault.pointer ?? fault.parameter}: ${fault.detail}`,
    );
    super([`${problem.status} ${problem.code}: ${problem.detail}`, ...faults].join("; "));
    this.status = problem.status;
    this.code = problem.code;
    this.detail = problem.detail;
    this.errors = problem.errors ?? [];
    this.request_id = problem.request_id;
    this.retry_after = retryAfter;
    this.problem = problem;
  }
}

/** 401, or a stream that ended because its key was revoked (`code` is `revoked`) or has expired (`expired`). */
export class UnauthenticatedError extends ApiError {
  override name: string = "UnauthenticatedError";
}

/** 403. */
export class ForbiddenError extends ApiError {
  override name: string = "ForbiddenError";

  /** The grant that lacks, such as `publish agent.task.t1.done` or `as ann`. */
  get needs(): string | undefined {
    return this.problem.needs as string | undefined;
  }
}

/** 404. */
export class NotFoundError extends ApiError {
  override name: string = "NotFoundError";
}

/** 409. For `idempotency_conflict`: the id belongs to another body. */
export class ConflictError extends ApiError {
  override name: string = "ConflictError";

  /** The id in conflict, where there is one. */
  get id(): string | undefined {
    return this.problem.id as string | undefined;
  }

  /** The sequence that has the id, if the key may read it. */
  get seq(): number | undefined {
    return this.problem.seq as number | undefined;
  }
}

/** 410: a lease that ran out or was ended. The job goes, or went, to another worker. */
export class LeaseLostError extends ApiError {
  override name: string = "LeaseLostError";
}

/** 422: the request breaks the rules. `errors` names every fault. */
export class InvalidError extends ApiError {
  override name: string = "InvalidError";
}

/** 429: over a limit of the key, or too many failed credentials. */
export class TooManyError extends ApiError {
  override name: string = "TooManyError";
}

/** 502, 503 or 504 of the server or of a proxy before it, for longer than the client retries. */
export class UnavailableError extends ApiError {
  override name: string = "UnavailableError";

  /** Of a message: `not_sent` is certainly not in the log, `unknown` may be. */
  get outcome(): "not_sent" | "unknown" | undefined {
    return this.problem.outcome as "not_sent" | "unknown" | undefined;
  }

  /** The id to send the message again under. */
  get id(): string | undefined {
    return this.problem.id as string | undefined;
  }
}

/** Nobody answered in time. The question stays in the log, and an answer may still come. */
export class NoReplyError extends ApiError {
  override name: string = "NoReplyError";

  /** The id of the question. */
  get id(): string {
    return this.problem.id as string;
  }

  /** The sequence of the question. */
  get seq(): number {
    return this.problem.seq as number;
  }
}

const CLASSES: Record<number, typeof ApiError> = {
  401: UnauthenticatedError,
  403: ForbiddenError,
  404: NotFoundError,
  409: ConflictError,
  410: LeaseLostError,
  422: InvalidError,
  429: TooManyError,
  502: UnavailableError,
  503: UnavailableError,
  504: UnavailableError,
};

/** The error of a problem document. */
export function apiError(problem: Problem, retryAfter?: number): ApiError {
  const ErrorClass = problem.code === "no_reply" ? NoReplyError : (CLASSES[problem.status] ?? ApiError);
  return new ErrorClass(problem, retryAfter);
}
