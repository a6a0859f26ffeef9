//@ has: STT_OBJECT near

int near = 11;
