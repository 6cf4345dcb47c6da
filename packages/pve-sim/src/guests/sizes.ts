import type { GuestRecord } from './guest-record.ts';

const mebibyte = 1024 ** 2;
const units: Record<string, number> = { K: 1024, M: mebibyte, G: 1024 ** 3, T: 1024 ** 4 };

/** Of the root volume or first disk, in bytes, as the configuration names it (`size=8G`). */
export function diskBytes(guest: GuestRecord): number {
  const volume = String(guest.config['rootfs'] ?? guest.config['scsi0'] ?? guest.config['virtio0'] ?? '');
  const match = /size=(\d+)([KMGT])/.exec(volume);
  return match === null ? 0 : Number(match[1]) * (units[match[2] ?? ''] ?? 1);
}

export function memoryBytes(guest: GuestRecord): number {
  return Number(String(guest.config['memory'] ?? 512).replace(/^current=/, '')) * mebibyte;
}

export function swapBytes(guest: GuestRecord): number {
  return Number(guest.config['swap'] ?? 512) * mebibyte;
}
