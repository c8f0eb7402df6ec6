/** The classic consumer groups of this broker: members, generations, offsets. */
export interface GroupCoordinator {}
