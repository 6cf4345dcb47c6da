/** The formats that the API checks, and its words for what is not of them (pve-common JSONSchema.pm). Each answers what is wrong, or null. */
const label = '[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?';
const dnsPattern = new RegExp(`^(${label}\\.)*${label}$`);

export function dnsName(value: string): string | null {
  return dnsPattern.test(value) ? null : 'value does not look like a valid DNS name';
}

function splitList(value: string): string[] {
  return value.split(/[,;\s\0]+/).filter((item) => item !== '');
}

export function tagList(value: string): string | null {
  return splitList(value).every((tag) => /^[a-z0-9_][a-z0-9_\-+.]*$/i.test(tag)) ? null : 'invalid characters in tag';
}

/** Tags as they are stored where the data centre sets no style: lower case, sorted, each once (GuestHelpers.pm get_unique_tags). */
export function uniqueTags(value: string): string {
  return [...new Set(splitList(value).map((tag) => tag.toLowerCase()))].toSorted().join(';');
}

/** `[[order=]N] [,up=N] [,down=N]`: kept as it was written (JSONSchema.pm pve_parse_startup_order). */
export function startupOrder(value: string): string | null {
  const parts = value.split(',').filter((part) => part.trim() !== '');
  const known = parts.every((part) => /^((order=)?|up=|down=)\d+$/.test(part));
  return value !== '' && value !== '0' && known ? null : 'unable to parse startup options';
}

/** A VM's memory: `2048` or `current=2048` (QemuServer/Memory.pm memory_fmt). */
export function memoryText(value: string): string | null {
  const [, mebibytes] = /^(?:current=)?(\d+)$/.exec(value) ?? [];
  if (mebibytes === undefined) return `current: type check ('integer') failed - got '${value}'`;
  return Number(mebibytes) >= 16 ? null : 'current: value must have a minimum value of 16';
}
