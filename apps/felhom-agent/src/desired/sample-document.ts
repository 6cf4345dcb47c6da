import { sealEnvelope } from '@felhom/signed-document/envelope.ts';
import { formatKeyLine, generateSigningKey, parseKeyLine, type SignerKey } from '@felhom/signed-document/keys.ts';
import { type DesiredDocument, desiredPayloadType } from './document.ts';

/** For tests: an agent, who may sign for it, and documents. */
export const sampleAgent = '0123456789abcdef0123456789abcdef';
export const sampleKey = generateSigningKey();
export const strangerKey = generateSigningKey();

export function signerOf(key: ReturnType<typeof generateSigningKey>, { revoked = false } = {}): SignerKey {
  const parsed = parseKeyLine(`${revoked ? 'revoked ' : ''}${formatKeyLine(key.publicKey, 'anna')}`);
  if (parsed === null) throw new Error('the key line is none');
  return parsed;
}

export function sampleDocument(more: Partial<DesiredDocument> = {}): DesiredDocument {
  return {
    schema: 'felhom.desired/1',
    agents: [sampleAgent],
    serial: 5,
    issued: '2026-11-24T12:00:00Z',
    expires: '2026-12-24T12:00:00Z',
    files: [{ name: '101.yaml', text: 'vmid: 101\ndesired: { cores: 2 }\n' }],
    ...more,
  };
}

/** The envelope of a document, or of whatever stands in the place of one. */
export function sealed(
  document: object | string = sampleDocument(),
  key = sampleKey,
  type = desiredPayloadType,
): string {
  return sealEnvelope(type, Buffer.from(typeof document === 'string' ? document : JSON.stringify(document)), [key]);
}
