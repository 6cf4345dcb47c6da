/**
 * The bytes that a signature covers: DSSE's pre-authentication encoding, version 1
 * (secure-systems-lab/dsse, protocol.md): `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`, lengths in
 * bytes, decimal. The type is inside, so a signature made for one kind of document is none for another.
 */
export function preAuthenticationEncoding(payloadType: string, body: Uint8Array): Buffer {
  const type = Buffer.from(payloadType, 'utf8');
  const head = Buffer.from(`DSSEv1 ${type.length} `, 'utf8');
  return Buffer.concat([head, type, Buffer.from(` ${body.length} `, 'utf8'), body]);
}
