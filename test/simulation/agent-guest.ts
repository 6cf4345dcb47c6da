/** What runs in the guest of an agent's world, and who looks after that. */
export interface SimulatedGuest {
  /** Whether every app is down right now: what a point in time taken now would hold. */
  appsDown(): boolean;
  /** The guest is stopped or started from outside: what runs in it goes with it. */
  power(running: boolean): void;
  /** Its host went down: nothing of its controller is left, and its next boot settles what that owed. */
  die(): void;
  /** The life of its controller, until nothing of it is left to wait for. */
  play(): Promise<void>;
  /** What does not hold of it when all is over, in words. */
  broken(): readonly string[];
}
