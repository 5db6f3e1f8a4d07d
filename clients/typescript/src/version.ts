// The versions of this client and of the server. Equal major versions go together.

export const VERSION = "0.2.0";
export const USER_AGENT = `agentbus-typescript/${VERSION}`;

/** A warning if the server's major version is another than this client's. */
export function versionWarning(server: string): string | undefined {
  if (major(server) === major(VERSION)) return undefined;
  return `agentbus: this client has version ${VERSION}, the server ${server}; their major versions should be the same`;
}

function major(version: string): string {
  return version.replace(/\..*/, "");
}
