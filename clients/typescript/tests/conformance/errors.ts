import {
  type AgentbusError,
  ApiError,
  ConflictError,
  ConnectionError,
  ForbiddenError,
  InvalidError,
  NotFoundError,
  TooManyError,
  UnauthenticatedError,
  UnavailableError,
} from "agentbus";

const GROUPS = [
  [UnauthenticatedError, "unauthenticated"],
  [ForbiddenError, "forbidden"],
  [NotFoundError, "not_found"],
  [ConflictError, "conflict"],
  [InvalidError, "invalid"],
  [TooManyError, "too_many"],
  [UnavailableError, "unavailable"],
  [ConnectionError, "connection"],
  [ApiError, "api"],
] as const;

/** An error as the table of cases has it. */
export function described(error: AgentbusError): Record<string, unknown> {
  const group = GROUPS.find(([ErrorClass]) => error instanceof ErrorClass)?.[1];
  const { status, code, detail, errors, needs, outcome, id, seq } = error as unknown as Record<
    string,
    unknown
  >;
  return { status, code, detail, errors, needs, outcome, id, seq, group };
}
