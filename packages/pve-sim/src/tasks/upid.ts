/** What a UPID says. `user` is the whole owner, `root@pam!tokenid` for a token. */
export interface UpidFields {
  node: string;
  pid: number;
  pstart: number;
  starttime: number;
  type: string;
  id: string;
  user: string;
}

export function formatUpid(fields: UpidFields): string {
  const numbers = [fields.pid, fields.pstart, fields.starttime].map((value) => hex8(value)).join(':');
  return `UPID:${fields.node}:${numbers}:${fields.type}:${fields.id}:${fields.user}:`;
}

export function parseUpid(text: string): UpidFields | null {
  const match = /^UPID:([^:\s]+):([0-9A-F]{8}):([0-9A-F]{8,9}):([0-9A-F]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$/i.exec(
    text,
  );
  if (match === null) return null;
  const [, node = '', pid = '', pstart = '', starttime = '', type = '', id = '', user = ''] = match;
  return {
    node,
    pid: Number.parseInt(pid, 16),
    pstart: Number.parseInt(pstart, 16),
    starttime: Number.parseInt(starttime, 16),
    type,
    id,
    user,
  };
}

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}
