// UUIDs of version 7 (RFC 9562): the ids under which a message may be sent again.

/** A new id. */
export function uuidV7(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const fields = new DataView(bytes.buffer);
  const time = Date.now();
  fields.setUint32(0, time / 2 ** 16);
  fields.setUint16(4, time % 2 ** 16);
  fields.setUint8(6, 0x70 | (fields.getUint8(6) & 0x0f));
  fields.setUint8(8, 0x80 | (fields.getUint8(8) & 0x3f));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
