// Imported for what it does: from then on the program's `cluster` is corral.
export {};
