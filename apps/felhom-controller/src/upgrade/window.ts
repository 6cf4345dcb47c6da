/** Minutes of the day; a window whose end is before its start goes over midnight. */
export interface DailyWindow {
  fromMinute: number;
  toMinute: number;
}

/** `01:00-05:00`; null: it is no window. */
export function parseWindow(text: string): DailyWindow | null {
  const match = /^([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)$/.exec(text.trim());
  if (match === null) return null;
  const [fromHour, fromMinute, toHour, toMinute] = match.slice(1).map(Number);
  return { fromMinute: (fromHour ?? 0) * 60 + (fromMinute ?? 0), toMinute: (toHour ?? 0) * 60 + (toMinute ?? 0) };
}

/** Whether a moment, in local time, lies in the window. The end is not part of it. */
export function isWithin({ fromMinute, toMinute }: DailyWindow, at: Date): boolean {
  const minute = at.getHours() * 60 + at.getMinutes();
  return fromMinute <= toMinute ? minute >= fromMinute && minute < toMinute : minute >= fromMinute || minute < toMinute;
}
