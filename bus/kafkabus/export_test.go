package kafkabus

// LaneOf is laneOf.
var LaneOf = laneOf
