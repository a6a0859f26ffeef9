//@ needs: libbottom.so
//@ has: DT_NEEDED libbottom.so

extern int count(void);
int right(void) { return count(); }
